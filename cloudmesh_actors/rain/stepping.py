"""From a message to the deploy it is a step of: its lease, its Cobbler, its deadlines, and the step after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cloudmesh_actors import leases, logs, settings, site
from cloudmesh_actors.clients.cobbler.model import Cobbler
from cloudmesh_actors.errors import (
    ArgumentError,
    JobAborted,
    LeaseHeld,
    LeaseLost,
    NodeError,
    StoreUnavailable,
    Unsupported,
)
from cloudmesh_actors.rain import records
from cloudmesh_actors.rain.deploying import Deploying
from cloudmesh_actors.rain.model import Deploy
from cloudmesh_actors.rain.stages import Deadlines, Stage
from cloudmesh_actors.runs import Run

#: A lease lasts longer than the longest wait between two steps and what a step may take over a BMC that is dead.
LEASE_TTL_S = 300.0

#: How often one who waits for a lease tries to take it, in seconds.
TRY_LEASE_EVERY_S = 2.0

#: How long Cobbler may be away while a deploy begins, and while netboot is put back.
PREPARE_DEADLINE_S = 300.0

#: When the store was away, or another run has overtaken this one, it is tried again after so many seconds.
AGAIN_S = 5.0

#: After so long without a deploy's Cobbler its netboot stays as it is, in seconds.
GIVE_UP_S = 86_400.0

log = logs.get_logger()


def connect(node: str) -> Cobbler:
    """Begin a conversation with the Cobbler that installs a node. Raises Unsupported when none does."""
    from cloudmesh_actors.clients.cobbler.client import connect as connect_to

    inventory = site.current()
    name = inventory.cobbler_of.get(node)
    if name is None:
        raise Unsupported(f"{node}: no Cobbler of the site installs it; add it to the `systems` of one.")
    return connect_to(inventory.cobblers[name])


def request(run: Run, delays: Mapping[str, float], profile: str | None, wait_lease: float) -> None:
    """Keep that these nodes are to be deployed by the run's job, each after so many seconds."""
    now = time.time()
    asked: dict[str, Any] = {"profile": profile, "requested_at": now, "wait_lease": wait_lease}
    records.begin(Deploy(job_id=run.job_id, node=node, stage_at=now + delay, **asked) for node, delay in delays.items())


def step(run: Run, node: str) -> float | None:
    """One step of the run's job on a node. Returns seconds until the next one; None when there is none.

    Raises:
        ArgumentError: the job deploys no such node.
        JobAborted, HandedBack: the run was to stop.
    """
    try:
        deploy = records.get(run.job_id, node)
        if deploy is None:
            raise ArgumentError(f"rain.deploy_step is sent by rain.deploy_system only; {node} is none of its nodes.")
        return None if deploy.ended else _step(run, deploy)
    except records.Overtaken as error:  # whoever goes on may die before its step ends: this one stays in line
        log.info("deploy.overtaken", node=node, at=str(error))
    except StoreUnavailable as error:
        log.warning("deploy.store_away", node=node, error=str(error))
    return AGAIN_S


def _step(run: Run, deploy: Deploy) -> float | None:
    try:
        lease = leases.take([deploy.node], job_id=run.job_id, actor="rain.deploy_system", ttl=LEASE_TTL_S)[deploy.node]
    except LeaseHeld as error:
        return _wait_for_lease(run, deploy, error)
    except LeaseLost as error:  # a later run of this step goes on
        raise records.Overtaken(str(error)) from error
    deploying = Deploying(
        deploy,
        lambda: connect(deploy.node),
        check=lambda: leases.check(lease),
        checkpoint=run.checkpoint,
        keep=records.change,
        deadlines=deadlines(),
    )
    try:
        wait = deploying.go_on()
    finally:
        if deploying.deploy.ended:
            leases.release([deploy.node], job_id=run.job_id)
    if deploying.aborted:
        raise JobAborted(f"The job {run.job_id} was aborted.")
    return wait


def _wait_for_lease(run: Run, deploy: Deploy, error: LeaseHeld, clock: Callable[[], float] = time.time) -> float | None:
    run.checkpoint()
    waited = clock() - deploy.stage_at
    if deploy.stage is Stage.REQUESTED and waited < deploy.wait_lease:
        records.change(deploy, trouble=str(error))
        return min(TRY_LEASE_EVERY_S, deploy.wait_lease - waited + 0.1)
    fail(deploy, error)
    return None


def fail(deploy: Deploy, error: NodeError) -> Deploy:
    """End a deploy without a word to Cobbler: who has the node's lease decides about netboot."""
    why: dict[str, Any] = {"error": deploy.error or str(error), "error_kind": deploy.error_kind or error.kind}
    return records.change(deploy, stage=Stage.FAILED, stage_at=time.time(), trouble=None, **why)


def deadlines() -> Deadlines:
    """How long each stage may take, by the settings."""
    config = settings.current()
    return Deadlines(
        PREPARE_DEADLINE_S, config.power_deadline, config.deploy_start_deadline, config.deploy_install_deadline
    )


def put_back(run: Run, node: str) -> str:
    """Put back the netboot of a node whose deploys nobody goes on with. Returns what was done.

    Raises:
        NodeError: it could not be; it is tried again the next time.
    """
    behind = [deploy for deploy in records.left_behind() if deploy.node == node]
    if not behind:
        return "nothing to put back"
    told = _netboot_off(run, node, given_up=all(time.time() - each.stage_at > GIVE_UP_S for each in behind))
    for deploy in behind:
        fail(deploy, Abandoned(f"{node}: its job ended before the deploy did, when it was {deploy.stage}; {told}."))
    return told


def _netboot_off(run: Run, node: str, *, given_up: bool) -> str:
    try:
        with leases.hold(node, run=run) as guard, connect(node) as cobbler:
            guard.check()
            cobbler.set_netboot(node, False)
    except LeaseHeld:  # whoever has it now decides about netboot
        return "another job works on the node now"
    except NodeError as error:
        if not given_up:
            raise
        return f"netboot could not be put back, so it may install itself at its next boot: {str(error).rstrip('.')}"
    return "netboot is off"


class Abandoned(NodeError):
    """A deploy whose job ended before it did."""

    kind = "aborted"
