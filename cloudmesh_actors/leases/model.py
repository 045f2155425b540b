"""What a lease is, when it may be taken, and when it is lost. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cloudmesh_actors.errors import LeaseHeld, LeaseLost

#: A command is not sent when its lease has less than this left, in seconds: it has to arrive before the lease ends.
MARGIN_S = 10.0

#: Of a short lease, the part of its term that takes the place of `MARGIN_S`.
MARGIN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to change a node. Times are seconds since the epoch, by the store's clock.

    `fence` grows each time that the node's lease goes to somebody else, another run of the same job included.
    """

    node: str
    job_id: str
    actor: str
    fence: int
    taken_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who wants a lease, or gives it back: a job, and the run of it that speaks. Outside a run `step_id` is empty."""

    job_id: str
    step_id: str = ""
    run: int = 1


@dataclass(frozen=True, slots=True)
class Moment:
    """The store's time, and those of the jobs in question that have ended by then."""

    now: float
    ended: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A node's lease as it is stored; without a `job_id` nobody has it. `ttl` is its term in seconds."""

    node: str
    fence: int = 0
    job_id: str | None = None
    step_id: str = ""
    run: int = 0
    actor: str = ""
    ttl: float = 0.0
    taken_at: float = 0.0
    expires_at: float = 0.0

    @property
    def lease(self) -> Lease:
        """The lease; of a row that nobody has, it is nobody's."""
        return Lease(self.node, self.job_id or "", self.actor, self.fence, self.taken_at, self.expires_at)

    def is_live(self, at: Moment) -> bool:
        """Whether somebody has it: it has not run out, and its job has not ended."""
        return self.job_id is not None and self.expires_at > at.now and self.job_id not in at.ended

    def is_older_than(self, other: Claimant) -> bool:
        """Whether another run of the same step, a later one, is its holder now."""
        return self.job_id == other.job_id and self.step_id == other.step_id and self.run > other.run


def granted(row: Row, who: Claimant, actor: str, ttl: float, at: Moment) -> Row:
    """The row after `who` took the lease.

    The run that has it keeps its fence. Another run of the same job gets the next one: the run before it may only be
    paused, and must not act any more.

    Raises:
        LeaseHeld: another job has it.
        LeaseLost: the asking job has ended, or a later run of the very step has it.
    """
    if who.job_id in at.ended:
        raise LeaseLost(f"{row.node}: the job {who.job_id[:8]} has ended, and gets no lease any more.")
    live = row.is_live(at)
    if live and row.job_id != who.job_id:
        raise LeaseHeld(held(row.lease, at.now))
    if live and row.is_older_than(who):
        raise LeaseLost(f"{row.node}: a later run of this job has the lease; nothing was sent.")
    same_run = live and (row.step_id, row.run) == (who.step_id, who.run)
    fence = row.fence if same_run else row.fence + 1
    taken_at = row.taken_at if live else at.now
    return Row(row.node, fence, who.job_id, who.step_id, who.run, actor, ttl, taken_at, at.now + ttl)


def held(lease: Lease, now: float) -> str:
    """The sentence for one who is refused."""
    return (
        f"{lease.node}: held by job {lease.job_id[:8]} ({lease.actor}) since {age(now - lease.taken_at)}; "
        "wait for it (--wait-lease), or abort that job."
    )


def lost(lease: Lease, row: Row, at: Moment) -> str | None:
    """Why the holder of `lease` must not act; None when it may."""
    if row.job_id != lease.job_id:
        return f"job {row.job_id[:8]} ({row.actor}) has it now" if row.job_id else "it was released"
    if row.fence != lease.fence:
        return "a later run of this job has it now"
    if row.job_id in at.ended:
        return "its job has ended"
    left = row.expires_at - at.now
    if left > margin(row.ttl):
        return None
    return f"it expires in {left:.1f} s, too soon for a command" if left > 0 else f"it expired {age(-left)} ago"


def margin(ttl: float) -> float:
    """How long a lease of this term has to last yet for a command to be sent, in seconds."""
    return min(MARGIN_S, ttl * MARGIN_SHARE)


def age(seconds: float) -> str:
    """A duration in one unit: ``12 s``, ``3 min``, ``2 h``, ``5 days``."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
