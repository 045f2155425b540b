"""The actors of the family launcher: recipes launched on servers.

One launch is one job. Its first step records a launch for each server and sends a step for each, so that all workers of
the queue share the work; the job has failed when one of them has.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import AfterValidator

from cloudmesh_actors import fanout, jobs, leases, logs, nodes, settings, site
from cloudmesh_actors.actor import FamilyActor, Nodes, actor
from cloudmesh_actors.broker import outcomes
from cloudmesh_actors.clients.shell.client import connect
from cloudmesh_actors.errors import ArgumentError, JobAborted, NodeError, ScriptFailed, StoreUnavailable, UnknownNode
from cloudmesh_actors.launcher import recipes, records
from cloudmesh_actors.launcher.deployment import Deployment, Order
from cloudmesh_actors.launcher.model import ENDED, LaunchState, Recipe, Value
from cloudmesh_actors.launcher.printout import Printout
from cloudmesh_actors.launcher.recipes import RecipeName
from cloudmesh_actors.launcher.records import Begun
from cloudmesh_actors.runs import HandedBack

P = ParamSpec("P")
R = TypeVar("R")

#: A run gives way to another after this part of its time limit.
PART_OF_TIME_LIMIT = 0.8

#: Where scripts have no effect: what is written down of them need not survive a power failure.
SIMULATED = "simulator"

log = logs.get_logger()


def _one_server(text: str) -> str:
    if len(site.current().nodes(text)) > 1:
        raise ArgumentError(f"{text} are several servers; launcher.launch has a step for each.")
    return text


#: An argument that is the name of a node of the site.
OneServer = Annotated[Nodes, AfterValidator(_one_server)]


class RecipeActor(FamilyActor[P, R]):
    """An actor that has a recipe, servers and parameters, which must fit each other."""

    def check(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, partly: bool = False
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See `FamilyActor`. Raises ParametersWrong, an ArgumentError, too."""
        args, kwargs = super().check(args, kwargs, partly=partly)
        given = self.signature.bind_partial(*args, **kwargs).arguments
        if not partly:
            recipe = recipes.find(given["recipe"])
            recipe.check(given.get("parameters") or {})
            check_servers(recipe, given["servers"])
        return args, kwargs


def check_servers(recipe: Recipe, servers: str) -> tuple[str, ...]:
    """The servers of a set, on all of which the recipe may be launched. Raises ArgumentError."""
    here = site.current()
    names = here.nodes(servers)
    if recipe.targets:
        targets = frozenset(here.nodes(recipe.targets))
        if outside := [name for name in names if name not in targets]:
            raise ArgumentError(f"{recipe.name}: {nodes.fold(outside)} is not among its targets, {recipe.targets}.")
    if unreached := [name for name in names if name not in here.hosts]:
        raise UnknownNode(f"{nodes.fold(unreached)}: `hosts:` of the site file does not say how to reach them.")
    return names


def _recipe_actor(**options: Any) -> Callable[[Callable[P, R]], RecipeActor[P, R]]:
    def declare(fn: Callable[P, R]) -> RecipeActor[P, R]:
        return RecipeActor(fn, family="launcher", changes_hardware=False, options=options)

    return declare


@_recipe_actor()
def launch(
    recipe: RecipeName, servers: Nodes, parameters: dict[str, Any] | None = None, wait_lease: float = 0
) -> dict[str, Any]:
    """Launch a recipe on servers, each a step of its own; the job ends when all have.

    `wait_lease` is how long a recipe that changes the node waits for the node's lease, in seconds.
    """
    run = jobs.current()
    found = recipes.find(recipe)
    values = found.check(parameters or {})
    names = check_servers(found, servers)
    if not run.job_id:
        _here_and_now(names, found, values)
    else:
        launches = [(step_of(run.job_id, name), name) for name in names]
        records.add(run.job_id, recipe, values, launches)
        send_all(launches, recipe, values, wait_lease)
    return {"recipe": recipe, "servers": nodes.fold(names), "count": len(names)}


@_recipe_actor(max_retries=0)
def deploy(
    recipe: RecipeName, servers: OneServer, parameters: dict[str, Any] | None = None, wait_lease: float = 0
) -> dict[str, Any]:
    """Launch a recipe on one server: what `launch` sends. A script that an earlier run has started is asked for."""
    run = jobs.current()
    found = recipes.find(recipe)
    values = found.check(parameters or {})
    [server] = check_servers(found, servers)
    step_id = run.step_id or uuid.uuid4().hex
    _deploy(Order(step_id, run.job_id, server, found, values), wait_lease)
    return {"server": server, "state": LaunchState.ACTIVE.value}


@actor("launcher")
def settle() -> list[str]:
    """End the scripts of launches that were aborted when no worker followed them, and record how others ended."""
    left = records.left_alone()
    for step_id in left:
        jobs.current().checkpoint()
        _settle(step_id)
    return left


def step_of(job_id: str, server: str) -> str:
    """The id of the step that launches a job's recipe on a server."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job_id} {server}"))


def send_all(launches: Sequence[tuple[str, str]], recipe: str, values: dict[str, Value], wait_lease: float) -> None:
    """Send a step for each pair of step id and server. Sent again, they are the same steps."""
    messages = (
        deploy.message_with_options(args=(recipe, server, values, wait_lease)).copy(message_id=step_id)
        for step_id, server in launches
    )
    deploy.broker.enqueue_many(list(messages))  # type: ignore[attr-defined]


def _here_and_now(servers: Sequence[str], recipe: Recipe, values: dict[str, Value]) -> None:
    """Outside a worker: every server, several at a time, and nothing is sent."""
    steps = {server: uuid.uuid4().hex for server in servers}
    records.add(uuid.uuid4().hex, recipe.name, values, [(step_id, server) for server, step_id in steps.items()])

    def work(server: str) -> dict[str, Any]:
        _deploy(Order(steps[server], "", server, recipe, values), 0)
        return {}

    fanout.each(servers, work, width=settings.current().fanout, run=jobs.current())


# -- one server


_ERRORS = {error.kind: error for error in NodeError.__subclasses__()}


class _Notes:
    """What is written down of a launch while it goes on."""

    def __init__(self, step_id: str) -> None:
        self._step_id = step_id

    def starting(self, script: str, place: str) -> None:
        records.deploying(self._step_id, script, place, durable=place != SIMULATED)

    def printed(self, text: str) -> None:
        try:
            records.printed(self._step_id, text)
        except StoreUnavailable as error:  # the end will bring all of it
            log.warning("output.held_back", error=str(error))


def _deploy(order: Order, wait_lease: float) -> None:
    """Launch on one server, and record how it went. While the store is away another run has to wait for it."""
    try:
        begun = records.begin(order.step_id) or _sent_by_itself(order)
        if begun.state in ENDED:
            _as_recorded(begun)
            return
        with _recording(order), _lease(order, wait_lease) as guard:
            _carry_out(order, begun, guard)
    except StoreUnavailable as error:
        if not jobs.current().job_id:
            raise
        log.warning("launch.handed_back", error=str(error))
        raise HandedBack from error


def _sent_by_itself(order: Order) -> Begun:
    records.add(order.job_id or order.step_id, order.recipe.name, dict(order.values), [(order.step_id, order.server)])
    return records.begin(order.step_id) or Begun(LaunchState.RUNNING)


def _lease(order: Order, wait: float) -> AbstractContextManager[leases.Guard]:
    return leases.hold(order.server, wait=wait) if order.recipe.changes_node else nullcontext(leases.Guard())


def _carry_out(order: Order, begun: Begun, guard: leases.Guard) -> None:
    seconds = settings.current().time_limit_for("launcher") * PART_OF_TIME_LIMIT
    with connect(site.current().hosts[order.server]) as runner:
        printout = Printout(order.server)
        deployment = Deployment(
            order, runner, _Notes(order.step_id), run=jobs.current(), begun=begun, printout=printout,
            allowed=guard.check, seconds=seconds,
        )  # fmt: skip
        try:
            deployment.carry_out()
        except (NodeError, JobAborted) as error:
            _record_end(order, error, printout.text(), durable=runner.place != SIMULATED)
            deployment.forget()
            raise
        _record_end(order, None, printout.text(), durable=runner.place != SIMULATED)
        deployment.forget()


@contextmanager
def _recording(order: Order) -> Iterator[None]:
    """Record how a launch ended that ended before its script began: a lease that is held, a host that is away."""
    try:
        yield
    except (HandedBack, StoreUnavailable):
        raise
    except Exception as error:
        _record_end(order, error, None)
        raise


def _record_end(order: Order, error: Exception | None, output: str | None, *, durable: bool = True) -> None:
    """Record the end of a launch; the first word counts."""
    run = jobs.current()
    state = LaunchState.ACTIVE
    text = kind = None
    if isinstance(error, JobAborted):
        state, text, kind = LaunchState.ABORTED, "It was aborted.", "aborted"
    elif error is not None:
        state, text, kind = LaunchState.ERROR, outcomes.sentence(error), getattr(error, "kind", "error")
    run.outcome(order.server, state is LaunchState.ACTIVE, text, kind)
    records.end(order.step_id, state, error=text, error_kind=kind, output=output, durable=durable)


def _as_recorded(begun: Begun) -> None:
    """End as an earlier run did whose end was recorded and its message not acknowledged."""
    if begun.state is LaunchState.ERROR:
        raise _ERRORS.get(begun.error_kind or "", ScriptFailed)(begun.error or "It failed.")
    if begun.state is LaunchState.ABORTED:
        raise JobAborted("The launch was aborted.")


def _settle(step_id: str) -> None:
    """One launch whose step has ended while its script may run."""
    launch, begun = records.get(step_id), records.begun(step_id)
    if launch is None or begun is None or launch.server not in site.current().hosts:
        return
    order = Order(step_id, launch.job_id, launch.server, recipes.find(launch.recipe), launch.parameters)
    printout = Printout(launch.server)
    with connect(site.current().hosts[launch.server]) as runner:
        deployment = Deployment(order, runner, _Notes(step_id), run=jobs.current(), begun=begun, printout=printout)
        if deployment.settle(aborted=launch.state is LaunchState.ABORTED):
            records.end(step_id, launch.state, error=launch.error, output=printout.text() or None)
            deployment.forget()
