"""Actors: a function, the family whose queue it is on, and arguments that are checked before anything is sent.

::

    @actor("rack")
    def temperature(nodes: Nodes, unit: Literal["C", "F"] = "C") -> list[dict[str, object]]: ...

    temperature.send("i[001-064]", unit="F")        # a Dramatiq message; its id is the job's
    temperature("i001")                             # a plain call, here and now

Dramatiq swallows exceptions of its `before_enqueue` hooks, so the check is in the actor: `send` with wrong arguments
raises `ArgumentError` and nothing has happened. The worker checks again, since a message may come from elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import dramatiq
import pydantic
from dramatiq.broker import Broker
from dramatiq.message import Message
from pydantic import AfterValidator, TypeAdapter

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import nodes as node_sets
from cloudmesh_actors import settings, site
from cloudmesh_actors.broker import timelimit
from cloudmesh_actors.errors import ArgumentError, CloudmeshError, UnknownActor
from cloudmesh_actors.families import FAMILIES

P = ParamSpec("P")
R = TypeVar("R")

#: Every actor that was imported, by name.
ACTORS: dict[str, FamilyActor[Any, Any]] = {}


def _known_nodes(text: str) -> str:
    site.current().nodes(text)
    return text


#: An argument that is a node set (`i[001-064]`, `@india`, `@rack:r1`); each of its nodes is in the site.
Nodes = Annotated[str, AfterValidator(_known_nodes)]


class FamilyActor(dramatiq.Actor[P, R]):
    """A Dramatiq actor that checks its arguments, and finds its broker when it is first used."""

    def __init__(self, fn: Callable[P, R], *, family: str, changes_hardware: bool, options: dict[str, Any]) -> None:
        name = f"{family}.{fn.__name__}"
        if name in ACTORS:
            raise ValueError(f"there are two actors named {name}")
        self.logger = dramatiq.get_logger(fn.__module__, name)
        self.fn = fn
        self.actor_name = name
        self.queue_name = self.family = family
        self.priority = 0
        self._own_options = {"changes_hardware": changes_hardware, **options}
        self.__doc__, self.__name__, self.__wrapped__ = fn.__doc__, fn.__name__, fn
        ACTORS[name] = self
        if brokers.is_open():
            self.declare_on(brokers.current())

    @property
    def broker(self) -> Broker:  # type: ignore[override]  # Dramatiq's is set when an actor is made
        """This process's broker."""
        broker: Broker = brokers.current()
        return broker

    @cached_property
    def options(self) -> dict[str, Any]:  # type: ignore[override]  # Dramatiq's is set when an actor is made
        """Dramatiq's options: the family's limits from the settings, and the actor's own."""
        config = settings.current()
        limits = {
            "time_limit": config.time_limit_for(self.family) * 1000,
            "max_retries": 0 if self._own_options["changes_hardware"] else config.retries_for(self.family),
            "min_backoff": int(config.retry_backoff * 1000),
            "max_backoff": int(config.retry_backoff_max * 1000),
        }
        return {**limits, **self._own_options}

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.fn)

    def declare_on(self, broker: Broker) -> None:
        """Make the actor known to a broker. Raises ValueError when an option of it is none of Dramatiq's or ours."""
        self.__dict__.pop("options", None)  # the settings may be others now
        if unknown := self._own_options.keys() - broker.actor_options:
            raise ValueError(f"{self.actor_name} has no option {', '.join(sorted(unknown))}")
        broker.declare_actor(self)

    def check(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, partly: bool = False
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, validated by the function's annotations; a list of nodes becomes a node set.

        Args:
            partly: some may be missing, as in a pipeline's messages, which get the result of the one before.

        Raises:
            ArgumentError: they do not fit; the sentence names the argument and the faulty part.
        """
        try:
            bound = self.signature.bind_partial(*args, **kwargs) if partly else self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.actor_name}{_usage(self.signature)}: {error}.") from None
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._checked(name, value)
        return bound.args, bound.kwargs

    def message_with_options(
        self, *, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Message[R]:
        """Build a message for a group or a pipeline. Raises ArgumentError."""
        args, kwargs = self.check(args, kwargs or {}, partly=True)
        return self._message(args, kwargs, options)

    def send_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        delay: timedelta | int | None = None,
        **options: Any,
    ) -> Message[R]:
        """Send a message, `delay` milliseconds from now at the earliest. Raises ArgumentError."""
        if isinstance(delay, timedelta):
            delay = int(delay.total_seconds() * 1000)
        args, kwargs = self.check(args, kwargs or {})
        return self.broker.enqueue(self._message(args, kwargs, options), delay=delay)

    def send_many(self, calls: Iterable[tuple[Any, ...] | dict[str, Any]], **options: Any) -> list[Message[R]]:
        """Send many messages at once, several times as fast as one after the other.

        Args:
            calls: the arguments of each message: a tuple by position, or a dict by name.

        Raises:
            ArgumentError: one of them does not fit; nothing was sent.
            BrokerUnavailable, StoreUnavailable: the sentence is one; see `Recording.enqueue_many`.
        """
        messages = []
        for call in calls:
            args, kwargs = self.check((), call) if isinstance(call, dict) else self.check(call, {})
            messages.append(self._message(args, kwargs, options))
        sent: list[Message[R]] = brokers.current().enqueue_many(messages)
        return sent

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, its arguments checked."""
        try:
            checked, named = self.check(args, dict(kwargs))
            return super().__call__(*checked, **named)
        finally:
            timelimit.task_ended()

    def _message(self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Message[R]:
        brokers.current()  # groups and pipelines ask Dramatiq for the broker
        message = super().message_with_options(args=args, kwargs=kwargs, **options)
        message.encode()  # what is not JSON, or too long, is refused here
        return message

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        hints = get_type_hints(self.fn, include_extras=True)
        return {name: TypeAdapter(hints.get(name, Any)) for name in self.signature.parameters}

    def _checked(self, name: str, value: Any) -> Any:
        if isinstance(value, list | tuple | set | frozenset) and _is_node_set(self._annotation(name)):
            value = self._folded(name, value)
        try:
            return self._adapters[name].validate_python(value)
        except CloudmeshError as error:
            raise ArgumentError(f"{self.actor_name}, {name}: {error}") from error
        except pydantic.ValidationError as error:
            reason = error.errors(include_url=False, include_context=False)[0]["msg"]
            wish = reason.replace("Input should", "it should", 1)
            raise ArgumentError(f"{self.actor_name}, {name}: {_short(value)} does not fit: {wish}.") from None

    def _folded(self, name: str, value: Any) -> str:
        for node in value:
            if not isinstance(node, str):
                raise ArgumentError(f"{self.actor_name}, {name}: {_short(node)} is not the name of a node.")
        return node_sets.fold(value)

    def _annotation(self, name: str) -> Any:
        return get_type_hints(self.fn, include_extras=True).get(name)


def actor(
    family: str, *, changes_hardware: bool = False, **options: Any
) -> Callable[[Callable[P, R]], FamilyActor[P, R]]:
    """Declare an actor of a family. `options` are Dramatiq's.

    Args:
        family: one of the five; also the queue.
        changes_hardware: its starts and outcomes are committed at once, and it is never retried by itself.

    Raises:
        ValueError: there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is not a family; the families are {', '.join(FAMILIES)}")

    def declare(fn: Callable[P, R]) -> FamilyActor[P, R]:
        return FamilyActor(fn, family=family, changes_hardware=changes_hardware, options=options)

    return declare


def declare_all(broker: Broker) -> None:
    """Declare every imported actor on a broker."""
    for each in ACTORS.values():
        each.declare_on(broker)


def find(name: str) -> FamilyActor[Any, Any]:
    """The actor named FAMILY.ACTOR, its family imported.

    Raises:
        UnknownActor: there is none; the sentence has the nearest name.
    """
    import_families()
    if name in ACTORS:
        return ACTORS[name]
    import difflib

    near = difflib.get_close_matches(name, ACTORS, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(ACTORS))}."
    raise UnknownActor(f"There is no actor {name!r}; {hint}")


def changes_hardware(name: str) -> bool:
    """Whether the actor of this name changes hardware; one that nobody knows may have done so."""
    try:
        return bool(find(name).options["changes_hardware"])
    except UnknownActor:
        return True


@lru_cache(maxsize=1)
def import_families() -> None:
    """Import the actors of every family that has some."""
    from importlib import import_module
    from importlib.util import find_spec

    for family in FAMILIES:
        if find_spec(f"cloudmesh_actors.{family}.actors"):
            import_module(f"cloudmesh_actors.{family}.actors")


def _is_node_set(annotation: Any) -> bool:
    return any(getattr(part, "func", None) is _known_nodes for part in getattr(annotation, "__metadata__", ()))


def _usage(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
