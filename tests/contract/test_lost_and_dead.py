"""Runs that died with their worker and messages that were lost, on SQLite and on PostgreSQL."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudmesh_actors import roster, settings, steps, store
from cloudmesh_actors.broker import sweeper
from cloudmesh_actors.broker.claims import Claims
from cloudmesh_actors.broker.sweeper import LostStep, Swept
from cloudmesh_actors.errors import BrokerUnavailable
from cloudmesh_actors.steps import SUSPECTED_S, Death, Ended, Queued, Started, State, Verdict
from cloudmesh_actors.store import Store

NOW = 10_000.0
LONG_AGO = NOW - sweeper.OVERDUE_S - 1


@pytest.fixture
def table(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setenv("CLOUDMESH_STORE_URL", store_url)
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
    settings.reset()
    return Table(store.current())


class Table:
    def __init__(self, store: Store) -> None:
        self.store = store

    def queue(self, step_id: str, *, at: float = LONG_AGO, actor: str = "rack.events", **more: Any) -> None:
        row = Queued(step_id, step_id, None, None, actor, "rack", '{"args": ["i001"], "kwargs": {}}', "me", at, None)
        with self.store.write() as connection:
            steps.insert(connection, self.store, [row._replace(**more)])

    def start(self, step_id: str, worker: str = "rack", at: float = 2.0) -> None:
        with self.store.write() as connection:
            steps.start(connection, [Started(step_id, worker, at)])

    def end(self, step_id: str, state: State = State.DONE) -> None:
        with self.store.write() as connection:
            steps.end(connection, [Ended(step_id, step_id, state, NOW, due_at=NOW + 5)])

    def bury(self, *dead: Death, blameless: bool = False) -> None:
        with self.store.write() as connection:
            steps.bury(connection, self.store, dead, NOW, blameless=blameless)

    def claim(self, step_id: str, after_run: int | None = None, at: float = NOW) -> Verdict:
        with self.store.write() as connection:
            return steps.claim(connection, Started(step_id, "w2", at), after_run).verdict

    def row(self, step_id: str) -> Any:
        with self.store.read() as connection:
            return connection.execute(sa.select(steps.steps).where(steps.steps.c.id == step_id)).one()


class TestRunsThatDied:
    def test_a_run_whose_start_was_not_committed_counts_too(self, table: Table) -> None:
        table.queue("a")
        table.bury(Death("a", "rack", 1, 5.0))
        row = table.row("a")
        assert (row.state, row.runs, row.deaths, row.worker, row.started_at) == ("queued", 1, 1, "rack", 5.0)

    def test_a_step_is_not_left_running(self, table: Table) -> None:
        table.queue("a")
        table.start("a")
        table.bury(Death("a", "rack", 1, 2.0))
        assert (table.row("a").state, table.row("a").deaths) == ("queued", 1)

    def test_a_run_that_another_worker_has_begun_meanwhile_goes_on(self, table: Table) -> None:
        table.queue("a")
        table.start("a")
        table.start("a", "w2", 3.0)
        table.bury(Death("a", "rack", 1, 2.0))
        assert (table.row("a").state, table.row("a").runs, table.row("a").deaths) == ("running", 2, 1)

    def test_a_death_is_recorded_once(self, table: Table) -> None:
        table.queue("a")
        for _ in range(2):
            table.bury(Death("a", "rack", 1, 2.0))
        assert table.row("a").deaths == 1

    def test_what_has_ended_stays_as_it_is(self, table: Table) -> None:
        table.queue("a")
        table.start("a")
        table.end("a")
        table.bury(Death("a", "rack", 1, 2.0))
        assert (table.row("a").state, table.row("a").deaths) == ("done", 0)

    def test_a_blameless_death_does_not_count(self, table: Table) -> None:
        table.queue("a")
        table.start("a")
        table.bury(Death("a", "rack", 1, 2.0), blameless=True)
        assert (table.row("a").state, table.row("a").deaths) == ("queued", 0)

    def test_before_its_last_try_it_waits_so_that_it_does_not_follow_failing_machines(self, table: Table) -> None:
        table.queue("a")
        for run in (1, 2):
            assert table.claim("a") is Verdict.RUN
            table.bury(Death("a", f"w{run}", run, NOW))

        assert table.claim("a", at=NOW + SUSPECTED_S - 0.1) is Verdict.SUSPECT
        assert (table.row("a").state, table.row("a").runs) == ("queued", 2)
        assert table.claim("a", at=NOW + SUSPECTED_S) is Verdict.RUN

    def test_after_three_deaths_it_is_poison_and_the_history_says_why(self, table: Table) -> None:
        table.queue("a")
        for run in (1, 2, 3):
            assert table.claim("a", at=NOW + run * SUSPECTED_S) is Verdict.RUN
            table.bury(Death("a", f"w{run}", run, float(run)))
        assert table.claim("a") is Verdict.POISON

        ended = Claims(lambda: table.store).poisoned("a", "a")
        assert ended.state is State.FAILED
        assert "3 of its runs ended with the death of their worker (w1 in run 1, w2 in run 2, w3 in run 3)" in str(
            ended.error
        )


class TestAClaim:
    def test_what_runs_is_not_begun_again(self, table: Table) -> None:
        table.queue("a")
        assert [table.claim("a") for _ in range(2)] == [Verdict.RUN, Verdict.RUNNING]
        assert table.row("a").runs == 1

    def test_what_is_known_to_have_died_is_begun_again_by_one(self, table: Table) -> None:
        table.queue("a")
        table.start("a")
        assert [table.claim("a", after_run=1) for _ in range(2)] == [Verdict.RUN, Verdict.RUNNING]
        assert table.row("a").runs == 2

    def test_a_run_on_another_host_that_tells_of_itself_is_waited_for(self, table: Table) -> None:
        table.queue("a")
        table.start("a", "rack", at=NOW - 5)
        self.told(table, host="elsewhere", started_at=NOW - 100, seen_at=NOW - 5)
        claims = Claims(lambda: table.store, clock=lambda: NOW)
        started = Started("a", "w2", NOW)
        seen = claims.first(started, durable=False)
        assert claims.again(started, seen).verdict is Verdict.RUNNING

    @pytest.mark.parametrize(
        "worker",
        [
            {"host": "elsewhere", "started_at": NOW - 100, "seen_at": NOW - 60},
            {"host": "elsewhere", "started_at": NOW - 1, "seen_at": NOW},
            {"host": socket.gethostname(), "started_at": NOW - 100, "seen_at": NOW},
        ],
        ids=["silent", "started afresh", "on this host, where the slots would tell"],
    )
    def test_a_run_of_a_worker_that_is_gone_is_not(self, table: Table, worker: dict[str, Any]) -> None:
        table.queue("a")
        table.start("a", "rack", at=NOW - 5)
        self.told(table, **worker)
        claims = Claims(lambda: table.store, clock=lambda: NOW)
        started = Started("a", "w2", NOW)
        assert claims.again(started, claims.first(started, durable=True)).verdict is Verdict.RUN

    @staticmethod
    def told(table: Table, **values: Any) -> None:
        row = {"name": "rack", "fleet": "", "queue": "rack", "pid": 1, "done": 0, "failed": 0, **values}
        with table.store.write() as connection:
            connection.execute(sa.insert(roster.workers).values(row))


class Broker:
    """A broker of which only the depth is known, and what was published to it."""

    def __init__(self, ready: int = 0) -> None:
        self.ready, self.published = ready, list[LostStep]()

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        return self.ready, 0, None, 0

    def publish_lost(self, step: LostStep) -> None:
        self.published.append(step)


class TestTheSweeper:
    @staticmethod
    def sweep(table: Table, broker: Any, now: float = NOW) -> Swept:
        return sweeper.sweep(table.store, broker, ["rack"], lambda actor: actor == "rack.power", lambda: now)

    def test_a_row_that_was_never_published_is_published_once_an_hour(self, table: Table) -> None:
        table.queue("a", options='{"max_retries": 2}')
        broker = Broker()
        assert self.sweep(table, broker) == Swept(published=1)
        assert self.sweep(table, broker) == Swept()
        assert self.sweep(table, broker, NOW + sweeper.AGAIN_S + 1) == Swept(published=1)

        step = broker.published[0]
        assert (step.id, step.actor, step.args, step.options) == ("a", "rack.events", ["i001"], {"max_retries": 2})

    @pytest.mark.parametrize(
        ("ready", "more"),
        [(0, {"at": NOW - 10}), (0, {"due_at": NOW + 100}), (3, {})],
        ids=["young", "delayed", "its queue is not empty"],
    )
    def test_what_may_still_be_with_the_broker_is_left_alone(
        self, table: Table, ready: int, more: dict[str, Any]
    ) -> None:
        table.queue("a", **more)
        assert self.sweep(table, Broker(ready)) == Swept()

    def test_what_a_busy_worker_may_hold_is_left_alone(self, table: Table) -> None:
        table.queue("a")
        table.queue("b")
        table.start("b", at=NOW)
        assert self.sweep(table, Broker()) == Swept()

    def test_in_a_busy_queue_a_younger_step_that_has_begun_gives_it_away(self, table: Table) -> None:
        table.queue("a", at=LONG_AGO - 100)
        table.queue("b", at=NOW - 10)
        table.start("b", at=NOW)
        assert self.sweep(table, Broker(ready=5)) == Swept(published=1)

    def test_what_changes_hardware_is_not_sent_late_by_surprise(self, table: Table) -> None:
        table.queue("a", actor="rack.power")
        broker = Broker()
        assert self.sweep(table, broker) == Swept(failed=1)
        row = table.row("a")
        assert (row.state, row.error_type, broker.published) == ("failed", "NeverSent", [])
        assert "nothing was done" in row.error

    def test_a_later_step_of_such_a_job_goes_on(self, table: Table) -> None:
        table.queue("a", actor="rack.power")
        table.start("a", at=2.0)
        table.end("a")
        table.queue("b", actor="rack.power", root_id="a", parent_id="a")
        broker = Broker()
        assert self.sweep(table, broker) == Swept(published=1)
        assert (broker.published[0].root_id, broker.published[0].parent_id) == ("a", "a")

    def test_a_step_whose_worker_nobody_has_heard_of_does_not_stay_running(self, table: Table) -> None:
        table.queue("a")
        table.start("a", "gone", at=NOW - sweeper.GONE_S - 1)
        assert self.sweep(table, Broker()) == Swept(over=1)
        assert table.row("a").state == "queued"
        assert self.sweep(table, Broker(), NOW + sweeper.OVERDUE_S + 1) == Swept(published=1)

    def test_a_broker_that_is_away_changes_nothing(self, table: Table) -> None:
        class Away(Broker):
            def publish_lost(self, step: LostStep) -> None:
                raise BrokerUnavailable("it is away")

        table.queue("a")
        with pytest.raises(BrokerUnavailable):
            self.sweep(table, Away())
        assert self.sweep(table, Broker()) == Swept(published=1)


def test_an_abort_that_comes_between_two_runs_ends_the_step(table: Table) -> None:
    table.queue("a")
    table.start("a")
    with table.store.write() as connection:
        steps.abort(connection, "a", 3.0)
    table.end("a", State.QUEUED)
    row = table.row("a")
    assert (row.state, row.due_at, row.job_ended_at) == ("aborted", None, NOW)
    assert row.error.startswith("It was aborted between two runs")
