"""How a run holds the lease of a node while it works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from cloudmesh_actors import logs, runs, settings
from cloudmesh_actors import store as stores
from cloudmesh_actors.errors import LeaseHeld, StoreError
from cloudmesh_actors.leases import keeping
from cloudmesh_actors.leases.keeping import Kept
from cloudmesh_actors.leases.model import Claimant, Lease
from cloudmesh_actors.leases.records import Leases
from cloudmesh_actors.runs import HandedBack, Run

#: How often one who waits for a lease tries to take it, in seconds.
TRY_EVERY_S = 0.5

#: An argument: how long an actor waits for a node's lease, in seconds.
WaitLease = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]

log = logs.get_logger()


class Guard:
    """Stands between a holder and its commands. Outside a worker there is no lease, and nothing to guard."""

    def __init__(self, lease: Lease | None = None, leases: Leases | None = None, run: Run | None = None) -> None:
        self.lease, self._leases, self._run = lease, leases, run or Run()

    def check(self) -> None:
        """Call it immediately before each command to the node. While the store is away it waits: nobody can know.

        Raises:
            LeaseLost: the command must not be sent.
            HandedBack: the worker stops meanwhile.
        """
        lease, leases = self.lease, self._leases
        if lease is not None and leases is not None:
            self._run.patiently(lambda: leases.check(lease))


@contextmanager
def hold(
    node: str,
    *,
    run: Run | None = None,
    wait: float = 0.0,
    ttl: float | None = None,
    of: Leases | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Guard]:
    """Hold the lease of a node while the block runs; it is renewed meanwhile, and given back at the end.

    A run that is handed back keeps it, as one whose worker dies does: the job's next run goes on with it, unless it
    has expired and somebody else has it by then.

    Args:
        wait: how long to wait for it, in seconds; meanwhile the run may stop at any time.
        ttl: its term in seconds, the setting `lease_ttl` by default.

    Raises:
        LeaseHeld: another job has it, and did not give it back in time.
        JobAborted, HandedBack: the run was to stop while it waited.
    """
    run = run or runs.current()
    if not run.job_id:
        yield Guard()
        return
    leases, term = of or Leases(stores.current()), settings.current().lease_ttl if ttl is None else ttl
    who = Claimant(run.job_id, run.step_id, run.number)
    lease = _patiently(lambda: leases.take([node], who, term)[node], run, wait, clock, sleep)
    kept = Kept(lease, term, leases)
    keeping.keeper.keep(kept)
    handed_back = False
    try:
        yield Guard(lease, leases, run)
    except HandedBack:
        handed_back = True
        raise
    finally:
        keeping.keeper.let_go(kept)
        if not handed_back:
            _give_back(leases, lease)


def _patiently(
    take: Callable[[], Lease], run: Run, wait: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Lease:
    until, told = clock() + wait, False
    while True:
        run.checkpoint()
        try:
            return run.patiently(take)
        except LeaseHeld as error:
            if clock() >= until:
                raise
            if not told:
                log.info("lease.waiting", reason=str(error), wait_s=wait)
                told = True
        sleep(min(TRY_EVERY_S, max(0.0, until - clock())))


def _give_back(leases: Leases, lease: Lease) -> None:
    try:
        leases.give_back(lease)
    except StoreError as error:  # it ends with its job, or runs out
        log.warning("lease.not_released", node=lease.node, error=str(error))
