"""Leases on SQLite and on PostgreSQL: who gets one, who is refused, who may act, and how long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from cloudmesh_actors import leases, runs, steps
from cloudmesh_actors.errors import JobAborted, LeaseHeld, LeaseLost, StoreUnavailable
from cloudmesh_actors.leases import keeping
from cloudmesh_actors.leases.keeping import Keeper
from cloudmesh_actors.leases.model import Claimant, Lease
from cloudmesh_actors.leases.records import Leases, store_time
from cloudmesh_actors.runs import HandedBack, RecordedRun, StopSignal
from cloudmesh_actors.steps import Ended, Queued, State
from cloudmesh_actors.store import Store

MINE, YOURS = "aaaaaaaa1111", "bbbbbbbb2222"


class Clock:
    """The store's, and a process's."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self, connection: sa.Connection | None = None) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held(new_store: Store, clock: Clock) -> Leases:
    return Leases(new_store, now=clock, clock=clock)


def take(held: Leases, job: str, *nodes: str, step: str = "", run: int = 1, ttl: float = 60.0) -> dict[str, Lease]:
    return held.take(nodes, Claimant(job, step, run), ttl, "rack.power")


def queue(store: Store, *jobs: str) -> None:
    rows = [Queued(job, job, None, None, "rack.power", "rack", "{}", "me@here", 1.0, None) for job in jobs]
    with store.write() as connection:
        steps.insert(connection, store, rows)


def end(store: Store, job: str) -> None:
    with store.write() as connection:
        steps.end(connection, [Ended(job, job, State.DONE, 2.0)])


def run_of(store: Store, job: str, number: int = 1) -> RecordedRun:
    return RecordedRun(store, job_id=job, step_id=job, number=number, stopping=StopSignal())


class TestTaking:
    def test_one_job_has_it_and_the_other_is_told_who_and_since_when(self, held: Leases, clock: Clock) -> None:
        lease = take(held, MINE, "i001")["i001"]
        clock.now += 200
        take(held, MINE, "i001")  # it goes on
        clock.now += 10

        with pytest.raises(LeaseHeld) as refused:
            take(held, YOURS, "i001")

        assert str(refused.value) == (
            "i001: held by job aaaaaaaa (rack.power) since 10 s; wait for it (--wait-lease), or abort that job."
        )
        assert lease == Lease("i001", MINE, "rack.power", 1, 1_000_000.0, 1_000_060.0)

    def test_all_or_none(self, held: Leases) -> None:
        take(held, YOURS, "i002")

        with pytest.raises(LeaseHeld, match=r"^i002: held"):
            take(held, MINE, "i003", "i002", "i001")

        assert [lease.node for lease in held.holders()[0]] == ["i002"]
        assert list(take(held, MINE, "i003", "i001")) == ["i003", "i001"]

    def test_to_take_it_again_renews_it(self, held: Leases, clock: Clock) -> None:
        first = take(held, MINE, "i001")["i001"]
        clock.now += 50
        again = take(held, MINE, "i001")["i001"]

        assert again == replace(first, expires_at=clock.now + 60)
        held.check(first)

    def test_one_that_was_given_back_is_free_and_its_fence_goes_on(self, held: Leases) -> None:
        take(held, MINE, "i001")

        assert held.release(["i001", "i002"], Claimant(MINE)) == ["i001"]
        assert held.holders()[0] == []
        assert take(held, YOURS, "i001")["i001"].fence == 2

    def test_one_that_expired_is_free(self, held: Leases, clock: Clock) -> None:
        take(held, MINE, "i001")
        clock.now += 60

        assert held.holders()[0] == []
        assert take(held, YOURS, "i001")["i001"].fence == 2

    def test_one_of_a_job_that_ended_is_free(self, held: Leases, new_store: Store) -> None:
        queue(new_store, MINE)
        mine = take(held, MINE, "i001")["i001"]
        end(new_store, MINE)

        assert held.holders()[0] == []
        with pytest.raises(LeaseLost, match="its job has ended"):
            held.check(mine)
        with pytest.raises(LeaseLost, match="the job aaaaaaaa has ended"):
            take(held, MINE, "i001")
        assert take(held, YOURS, "i001")["i001"].fence == 2

    def test_a_job_that_was_aborted_keeps_it_until_it_stops(self, held: Leases, new_store: Store) -> None:
        queue(new_store, MINE)
        with new_store.write() as connection:
            steps.start(connection, [steps.Started(MINE, "rack", 1.0)])
            steps.abort(connection, MINE, 2.0)
        take(held, MINE, "i001")

        with pytest.raises(LeaseHeld):
            take(held, YOURS, "i001")

    def test_the_actor_is_the_jobs(self, held: Leases, new_store: Store) -> None:
        queue(new_store, MINE)

        assert held.take(["i001"], Claimant(MINE), 60)["i001"].actor == "rack.power"

    def test_no_other_job_gives_it_back_but_an_operator_may(self, held: Leases) -> None:
        mine = take(held, MINE, "i001")["i001"]

        assert held.release(["i001"], Claimant(YOURS)) == []
        held.give_back(replace(mine, fence=7))
        held.check(mine)
        assert held.release(["i001"], None) == ["i001"]
        with pytest.raises(LeaseLost, match="it was released"):
            held.check(mine)

    def test_more_nodes_than_a_statement_can_name(self, held: Leases) -> None:
        names = [f"n{number}" for number in range(1200)]
        take(held, YOURS, "n1199")

        with pytest.raises(LeaseHeld, match="n1199"):
            take(held, MINE, *names)
        assert list(take(held, MINE, *names[:-1])) == names[:-1]
        assert take(held, MINE) == {}


class TestRunsOfOneJob:
    """The one that is paused, and the one that goes on in its place, have the same job."""

    def test_a_later_run_takes_over_and_the_earlier_one_may_not_act(self, held: Leases) -> None:
        first = take(held, MINE, "i001", step="s", run=1)["i001"]
        second = take(held, MINE, "i001", step="s", run=2)["i001"]

        assert (second.fence, second.taken_at) == (2, first.taken_at)
        with pytest.raises(LeaseLost, match="a later run of this job has it now"):
            held.check(first)
        with pytest.raises(LeaseLost, match="a later run"):
            take(held, MINE, "i001", step="s", run=1)
        assert held.release(["i001"], Claimant(MINE, "s", 1)) == []
        held.give_back(first)
        held.check(second)

    def test_the_next_step_takes_over(self, held: Leases) -> None:
        first = take(held, MINE, "i001", step="s1", run=3)["i001"]
        second = take(held, MINE, "i001", step="s2", run=1)["i001"]

        held.check(second)
        with pytest.raises(LeaseLost):
            held.check(first)
        assert held.release(["i001"], Claimant(MINE, "s3", 1)) == ["i001"]


def test_many_at_once_take_sets_that_overlap_and_each_node_has_one_owner(new_store: Store) -> None:
    owners: dict[str, str] = {}
    trouble: list[str] = []

    def work(number: int) -> int:
        job, chance, held, won = f"job{number}", Random(number), Leases(new_store), 0
        for _ in range(20):
            nodes = chance.sample([f"Node-{place}" for place in range(3)] + [f"n{place}" for place in range(5)], 3)
            try:
                mine = take(held, job, *nodes)
            except LeaseHeld:
                continue
            won += 1
            trouble.extend(f"{node} of {owners[node]} and {job}" for node in nodes if node in owners)
            owners.update(dict.fromkeys(nodes, job))
            trouble.extend(lease.node for lease in held.keep((lease, 60.0) for lease in mine.values()))
            for node in nodes:
                del owners[node]
            held.release(nodes, Claimant(job))
        return won

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(work, range(6)))

    assert trouble == []
    assert sum(won) > 0
    assert Leases(new_store).holders()[0] == []


class TestChecking:
    @pytest.mark.parametrize(
        ("later", "reason"),
        [(49, None), (50.5, "it expires in 9.5 s, too soon for a command"), (72, "it expired 12 s ago")],
    )
    def test_time_decides(self, held: Leases, clock: Clock, later: float, reason: str | None) -> None:
        lease = take(held, MINE, "i001")["i001"]
        clock.now += later

        if reason is None:
            held.check(lease)
            return
        with pytest.raises(LeaseLost) as lost:
            held.check(lease)
        assert str(lost.value) == f"i001: its lease was lost, {reason}; nothing more was sent."

    def test_one_that_another_job_has(self, held: Leases, clock: Clock) -> None:
        lease = take(held, MINE, "i001")["i001"]
        clock.now += 60
        take(held, YOURS, "i001")

        with pytest.raises(LeaseLost, match=r"job bbbbbbbb \(rack.power\) has it now"):
            held.check(lease)

    def test_one_of_a_node_that_the_store_does_not_know(self, held: Leases, clock: Clock) -> None:
        with pytest.raises(LeaseLost, match="it was released"):
            held.check(Lease("i001", MINE, "", 1, clock.now, clock.now + 60))

    def test_an_answer_that_took_too_long_is_worth_nothing(self, new_store: Store, clock: Clock) -> None:
        stopped = Leases(new_store, now=clock, clock=iter([0.0, 55.0]).__next__)  # in between it was paused
        lease = take(Leases(new_store, now=clock), MINE, "i001")["i001"]

        with pytest.raises(LeaseLost, match=r"expires in 5\.0 s"):
            stopped.check(lease)

    def test_the_clock_is_the_stores(self, new_store: Store) -> None:
        lease = take(Leases(new_store), MINE, "i001", ttl=600)["i001"]

        with new_store.read() as connection:
            assert 0 < lease.expires_at - store_time(connection) <= 600
        Leases(new_store).check(lease)


class TestRenewing:
    def test_it_lasts_from_now(self, held: Leases, clock: Clock) -> None:
        lease = take(held, MINE, "i001", "i002")["i001"]
        clock.now += 55
        held.renew(["i001", "i002"], Claimant(MINE), 30)

        assert [found.expires_at for found in held.holders()[0]] == [clock.now + 30] * 2
        held.check(lease)

    def test_one_that_expired_stays_so_even_if_nobody_took_it(self, held: Leases, clock: Clock) -> None:
        lease = take(held, MINE, "i001", "i002")["i001"]
        clock.now += 61

        with pytest.raises(LeaseLost, match="i001"):
            held.renew(["i001"], Claimant(MINE), 60)
        assert held.keep([(lease, 60)]) == [lease]
        with pytest.raises(LeaseLost, match="expired"):
            held.check(lease)
        assert take(held, MINE, "i001")["i001"].fence == 2

    def test_another_jobs_is_not_renewed(self, held: Leases) -> None:
        take(held, MINE, "i001")

        with pytest.raises(LeaseLost, match="i001"):
            held.renew(["i001"], Claimant(YOURS), 60)

    def test_many_are_renewed_together_and_each_loss_is_told(self, held: Leases, clock: Clock) -> None:
        mine = take(held, MINE, "i001", "i002", "i003")
        held.release(["i002"], Claimant(MINE))
        clock.now += 30

        lost = held.keep((lease, 60.0) for lease in mine.values())

        assert lost == [mine["i002"]]
        assert {lease.expires_at for lease in held.holders()[0]} == {clock.now + 60}


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """One that renews often, so that no lease is lost on a slow machine."""
    keeper = Keeper()
    monkeypatch.setattr(keeping, "keeper", keeper)
    monkeypatch.setattr(keeping, "RENEWALS", 600)
    return keeper


def wait_until(condition: threading.Event) -> None:
    assert condition.wait(30)


@pytest.fixture
def real(new_store: Store) -> Leases:
    """Leases by the real clocks."""
    return Leases(new_store)


class TestHolding:
    def test_it_is_held_while_the_block_runs(self, new_store: Store, real: Leases) -> None:
        queue(new_store, MINE, YOURS)

        with leases.hold("i001", run=run_of(new_store, MINE), of=real) as guard:
            guard.check()
            assert guard.lease is not None
            assert leases.holders(["i001"], store=new_store) == [guard.lease]
            assert leases.holders(["i002"], store=new_store) == []
            with (
                pytest.raises(LeaseHeld, match="held by job aaaaaaaa"),
                leases.hold("i001", run=run_of(new_store, YOURS), of=real),
            ):
                pass

        assert leases.holders(store=new_store) == []
        with pytest.raises(LeaseLost):
            guard.check()

    def test_outside_a_worker_there_is_nothing_to_hold(self, new_store: Store, real: Leases) -> None:
        with leases.hold("i001", of=real) as guard:
            guard.check()

        assert guard.lease is None
        assert leases.holders(store=new_store) == []

    def test_it_is_renewed_by_one_thread_that_ends_with_the_last_lease(
        self, new_store: Store, real: Leases, keeper: Keeper
    ) -> None:
        run, more = run_of(new_store, MINE), threading.Event()
        began = threading.active_count()

        class Watched(Leases):
            def keep(self, held):  # type: ignore[no-untyped-def]
                lost = super().keep(held)
                more.set()
                return lost

        of = Watched(new_store)
        with leases.hold("i001", run=run, of=of, ttl=120.0) as one, leases.hold("i002", run=run, of=of, ttl=120.0):
            assert threading.active_count() == began + 1
            wait_until(more)
            assert one.lease is not None
            [now, _] = leases.holders(store=new_store)
            assert now.expires_at > one.lease.expires_at
            one.check()
            thread = keeper._thread
        assert thread is not None
        thread.join(30)
        assert not thread.is_alive()

    def test_one_that_is_lost_is_logged_and_not_renewed_any_more(
        self, new_store: Store, real: Leases, keeper: Keeper
    ) -> None:
        with capture_logs() as lines, leases.hold("i001", run=run_of(new_store, MINE), of=real, ttl=120.0):
            leases.release(["i001"], job_id=MINE, store=new_store)
            thread = keeper._thread
            assert thread is not None
            thread.join(30)

        assert [(line["event"], line["nodes"]) for line in lines] == [("leases.lost", "i001")]

    @pytest.mark.parametrize("error", [JobAborted, LeaseLost, KeyboardInterrupt])
    def test_whatever_ends_the_block_gives_it_back(
        self, new_store: Store, real: Leases, error: type[BaseException]
    ) -> None:
        with pytest.raises(error), leases.hold("i001", run=run_of(new_store, MINE), of=real):
            raise error

        assert leases.holders(store=new_store) == []

    def test_a_run_that_is_handed_back_keeps_it_for_the_next_one(self, new_store: Store, real: Leases) -> None:
        with pytest.raises(HandedBack), leases.hold("i001", run=run_of(new_store, MINE), of=real):
            raise HandedBack

        with pytest.raises(LeaseHeld), leases.hold("i001", run=run_of(new_store, YOURS), of=real):
            pass
        with leases.hold("i001", run=run_of(new_store, MINE, 2), of=real) as guard:
            guard.check()
        assert leases.holders(store=new_store) == []

    def test_one_who_waits_gets_it_when_it_is_given_back(self, new_store: Store, real: Leases) -> None:
        take(real, YOURS, "i001")

        def sleep(seconds: float) -> None:
            leases.release(["i001"], job_id=YOURS, store=new_store)

        with leases.hold("i001", run=run_of(new_store, MINE), wait=60, of=real, sleep=sleep) as guard:
            guard.check()

    def test_one_who_waits_gives_up_in_the_end(self, new_store: Store, real: Leases, clock: Clock) -> None:
        take(real, YOURS, "i001")

        def sleep(seconds: float) -> None:
            clock.now += seconds

        with (
            pytest.raises(LeaseHeld),
            leases.hold("i001", run=run_of(new_store, MINE), wait=9, of=real, clock=clock, sleep=sleep),
        ):
            pass
        assert clock.now == 1_000_009.0

    def test_one_who_waits_can_be_aborted(self, new_store: Store, real: Leases) -> None:
        take(real, YOURS, "i001")
        queue(new_store, MINE)
        run = run_of(new_store, MINE)

        def sleep(seconds: float) -> None:
            with new_store.write() as connection:
                steps.start(connection, [steps.Started(MINE, "rack", 1.0)])
                steps.abort(connection, MINE, 2.0)
            run.look_for_abort()

        with pytest.raises(JobAborted), leases.hold("i001", run=run, wait=60, of=real, sleep=sleep):
            pass


class TestInARun:
    @pytest.fixture
    def run(self, new_store: Store) -> Iterator[RecordedRun]:
        run = run_of(new_store, MINE, 2)
        runs.enter(run)
        yield run
        runs.leave()

    def test_a_step_takes_in_the_name_of_its_run(self, new_store: Store, run: RecordedRun) -> None:
        lease = leases.take(["i001"], job_id=MINE, actor="rain.deploy_system", ttl=300, store=new_store)["i001"]
        leases.check(lease, store=new_store)
        leases.renew(["i001"], job_id=MINE, store=new_store)

        with pytest.raises(LeaseLost, match="a later run"):
            take(Leases(new_store), MINE, "i001", step=MINE, run=1)
        leases.release(["i001"], job_id=MINE, store=new_store)
        assert leases.holders(store=new_store) == []


class TestAStoreThatIsAway:
    @pytest.fixture
    def store_url(self, tmp_path) -> str:  # type: ignore[no-untyped-def]
        return f"sqlite:///{tmp_path}/store.db"

    def test_nobody_may_act_and_it_is_logged_once(self, new_store: Store, keeper: Keeper, tmp_path) -> None:  # type: ignore[no-untyped-def]
        more = threading.Event()

        class Counting(Leases):
            tries = 0

            def keep(self, held):  # type: ignore[no-untyped-def]
                self.tries += 1
                if self.tries == 3:
                    more.set()
                return super().keep(held)

        with (
            capture_logs() as lines,
            leases.hold("i001", run=run_of(new_store, MINE), of=Counting(new_store), ttl=120.0) as guard,
        ):
            (tmp_path / "store.db").rename(tmp_path / "elsewhere.db")
            wait_until(more)
            assert guard.lease is not None
            with pytest.raises(StoreUnavailable):
                Leases(new_store).check(guard.lease)

        assert [line["event"] for line in lines] == ["leases.not_renewed", "lease.not_released"]
