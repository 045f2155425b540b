"""Leases: the right to change a node, which one job has at a time.

::

    with leases.hold(node, wait=60) as guard:       # in an actor's run
        guard.check()                               # immediately before each command
        bmc.power("off")

A lease belongs to a job. It ends when it is given back, when it expires, and when its job ends. Its `fence` is a
number that grows each time a node's lease goes to somebody else; whoever has an older one must not act any more.
``docs/leases.md`` tells what that is worth, and what it is not.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudmesh_actors import runs, settings
from cloudmesh_actors import store as stores
from cloudmesh_actors.leases.holding import Guard, WaitLease, hold
from cloudmesh_actors.leases.model import Claimant, Lease, age
from cloudmesh_actors.leases.records import Leases
from cloudmesh_actors.store import Store

__all__ = [
    "Guard",
    "Lease",
    "WaitLease",
    "age",
    "check",
    "hold",
    "holders",
    "release",
    "release_by_force",
    "renew",
    "seen",
    "take",
]


def take(
    nodes: Iterable[str], *, job_id: str, actor: str, ttl: float | None = None, store: Store | None = None
) -> dict[str, Lease]:
    """Take the leases of all nodes, or of none, each for `ttl` seconds (the setting `lease_ttl` by default).

    A run that has them keeps their fences, and they last `ttl` from now. Another run of the same job takes them over.

    Raises:
        LeaseHeld: another job has one; the sentence is about the first.
        LeaseLost: the job has ended, or a later run of the current step goes on.
    """
    return _leases(store).take(nodes, _claimant(job_id), _term(ttl), actor)


def renew(nodes: Iterable[str], *, job_id: str, ttl: float | None = None, store: Store | None = None) -> None:
    """Have the job's leases of nodes last `ttl` seconds from now. Raises LeaseLost when one has expired or is gone."""
    _leases(store).renew(nodes, _claimant(job_id), _term(ttl))


def release(nodes: Iterable[str], *, job_id: str, store: Store | None = None) -> None:
    """Give the job's leases of nodes back; what is not its own is left alone."""
    _leases(store).release(nodes, _claimant(job_id))


def check(lease: Lease, *, store: Store | None = None) -> None:
    """Call it immediately before each command to the node.

    Raises:
        LeaseLost: the command must not be sent: the lease expired or is about to, was released, or is another's.
        StoreUnavailable: whether it may be sent cannot be known.
    """
    _leases(store).check(lease)


def release_by_force(nodes: Iterable[str], *, store: Store | None = None) -> list[str]:
    """End the leases of nodes, whoever has them; returns the nodes that were held. Their holders may not act any more.

    For holders that are known to be dead: what they have begun may be half done.
    """
    return _leases(store).release(nodes, None)


def holders(nodes: Iterable[str] | None = None, *, store: Store | None = None) -> list[Lease]:
    """The leases that somebody has, by node; of all nodes by default."""
    return seen(nodes, store=store)[0]


def seen(nodes: Iterable[str] | None = None, *, store: Store | None = None) -> tuple[list[Lease], float]:
    """As `holders`, and the store's time at which they were."""
    return _leases(store).holders(nodes)


def _leases(store: Store | None) -> Leases:
    return Leases(store or stores.current())


def _claimant(job_id: str) -> Claimant:
    run = runs.current()
    return Claimant(job_id, run.step_id, run.number) if run.job_id == job_id else Claimant(job_id)


def _term(ttl: float | None) -> float:
    return settings.current().lease_ttl if ttl is None else ttl
