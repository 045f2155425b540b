"""The store and the tables of jobs, on SQLite and on PostgreSQL: schema, many writers, every change of a step."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import cloudmesh_actors
from cloudmesh_actors import jobs, roster, settings, steps, store
from cloudmesh_actors.errors import StoreError, StoreUnavailable, UnknownJob
from cloudmesh_actors.runs import RecordedRun, StopSignal
from cloudmesh_actors.steps import JOB_STATE, Ended, Queued, Started, State, Verdict
from cloudmesh_actors.store import SCHEMA_VERSION, Store

PACKAGE = Path(cloudmesh_actors.__file__).parent


def modules_with_tables() -> list[str]:
    found = [
        file for file in PACKAGE.rglob("*.py") if "sa.Table(" in file.read_text() and "migrations" not in file.parts
    ]
    return [".".join(("cloudmesh_actors", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in found]


class TestSchema:
    def test_the_migrations_make_the_tables_that_the_code_declares(self, new_store: Store) -> None:
        for name in modules_with_tables():
            import_module(name)
        with new_store.read() as connection:
            found = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
            differences = compare_metadata(
                MigrationContext.configure(connection, opts={"compare_type": True}), store.metadata
            )

        assert found == set(store.metadata.tables)
        assert differences == []

    def test_an_empty_server_is_not_touched_until_somebody_upgrades_it(self, postgresql_url: str) -> None:
        with pytest.raises(StoreError, match=r"is at schema none, .* needs .*: run `cm-actors store upgrade` once"):
            Store(postgresql_url)

        by_hand = Store(postgresql_url, check_schema=False)
        assert by_hand.schema_version() is None
        by_hand.upgrade()
        by_hand.close()

        opened = Store(postgresql_url)
        assert opened.schema_version() == SCHEMA_VERSION
        opened.close()

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_two_who_upgrade_at_once_both_succeed(
        self, request: pytest.FixtureRequest, tmp_path: Path, kind: str
    ) -> None:
        url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
        program = (
            "import sys; from cloudmesh_actors.store import Store; s = Store(sys.argv[1], check_schema=False)\n"
            "sys.stdin.read(1); s.upgrade(); print(s.schema_version())"
        )
        command = [sys.executable, "-c", program, url]
        both = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for _ in range(2)
        ]

        assert [one.communicate("x", timeout=60)[0].strip() for one in both] == [SCHEMA_VERSION] * 2

    def test_the_roster_takes_a_worker_in_and_lets_it_go(self, new_store: Store) -> None:
        entry = roster.Entry(new_store, "rack", "rack", "here")
        entry.ready()
        entry.beat(done=3, failed=1, last_job="x")
        again = roster.Entry(new_store, "rack", "rack", "here")
        with new_store.read() as connection:
            [row] = connection.execute(sa.select(roster.workers)).all()
        again.leave()

        assert (row.done, row.ready_at) == (0, None)
        with new_store.read() as connection:
            assert connection.execute(sa.select(roster.workers)).all() == []


# -- the tables of jobs


def queued(step_id: str, root_id: str | None = None, at: float = 1.0) -> Queued:
    parent = root_id
    nothing = '{"args": [], "kwargs": {}}'
    return Queued(step_id, root_id or step_id, parent, None, "rack.events", "rack", nothing, "me@here", at, None)


def ended(step_id: str, root_id: str, state: State = State.DONE, at: float = 3.0) -> Ended:
    return Ended(step_id, root_id, state, at, result="1" if state is State.DONE else None, error=None)


class Table:
    """Changes of steps, each in a transaction of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def insert(self, *queued: Queued) -> None:
        with self.store.write() as connection:
            steps.insert(connection, self.store, queued)

    def start(self, *ids: str, at: float = 2.0) -> None:
        with self.store.write() as connection:
            steps.start(connection, [Started(step_id, "rack", at) for step_id in ids])

    def end(self, *ended: Ended) -> None:
        with self.store.write() as connection:
            steps.end(connection, ended)

    def abort(self, root_id: str, now: float = 5.0) -> int:
        with self.store.write() as connection:
            return steps.abort(connection, root_id, now)

    def claim(self, step_id: str) -> steps.Claim:
        with self.store.write() as connection:
            return steps.claim(connection, Started(step_id, "rack", 2.0))

    def look(self, step_id: str) -> steps.Claim:
        return steps.look_ahead(self.store, [step_id])[step_id]

    def row(self, step_id: str) -> sa.Row:
        with self.store.read() as connection:
            query = sa.select(steps.steps, JOB_STATE).where(steps.steps.c.id == step_id)
            return connection.execute(query).one()


@pytest.fixture
def table(new_store: Store) -> Table:
    return Table(new_store)


class TestOneStep:
    def test_from_queued_to_done(self, table: Table) -> None:
        table.insert(queued("a"))
        assert (table.row("a").state, table.row("a").job_state) == ("queued", "queued")
        table.start("a")
        assert (table.row("a").state, table.row("a").runs, table.row("a").started_at) == ("running", 1, 2.0)
        table.end(ended("a", "a"))

        row = table.row("a")
        assert (row.state, row.job_state, row.ended_at, row.job_ended_at, row.result) == ("done", "done", 3.0, 3.0, "1")

    def test_a_step_that_is_sent_twice_keeps_its_row(self, table: Table) -> None:
        table.insert(queued("a"))
        table.start("a")
        table.insert(queued("a"), queued("a"), queued("b"))

        assert (table.row("a").state, table.row("b").state) == ("running", "queued")

    def test_an_outcome_is_recorded_once(self, table: Table) -> None:
        table.insert(queued("a"))
        table.end(ended("a", "a", State.FAILED), ended("a", "a"))
        table.end(ended("a", "a"))
        table.start("a")

        assert (table.row("a").state, table.row("a").runs) == ("failed", 0)

    def test_a_step_that_is_to_run_again_is_queued_with_its_error_and_when(self, table: Table) -> None:
        table.insert(queued("a"))
        table.start("a")
        table.end(Ended("a", "a", State.QUEUED, 3.0, error="bad luck", due_at=9.0))
        row = table.row("a")
        assert (row.state, row.error, row.due_at, row.ended_at, row.job_ended_at) == (
            "queued", "bad luck", 9.0, None, None,
        )  # fmt: skip

        table.start("a")
        table.end(ended("a", "a"))
        assert (table.row("a").runs, table.row("a").error, table.row("a").due_at) == (2, None, None)

    @pytest.mark.parametrize(
        ("changes", "verdict"),
        [
            ("", Verdict.UNKNOWN),
            ("i", Verdict.RUN),
            ("is", Verdict.RUNNING),
            ("ise", Verdict.RECORDED),
            ("ia", Verdict.RECORDED),
            ("isa", Verdict.ABORTED),
            ("isaq", Verdict.RECORDED),
            ("isaqa", Verdict.RECORDED),
        ],
    )
    def test_what_a_worker_may_do_with_it(self, table: Table, changes: str, verdict: Verdict) -> None:
        change = {
            "i": lambda: table.insert(queued("a")),
            "s": lambda: table.start("a"),
            "e": lambda: table.end(ended("a", "a")),
            "a": lambda: table.abort("a"),
            "q": lambda: table.end(Ended("a", "a", State.QUEUED, 3.0)),
        }
        for name in changes:
            change[name]()

        assert table.look("a").verdict is verdict
        assert table.claim("a").verdict is verdict

    def test_a_claim_is_a_start_unless_it_may_not_run(self, table: Table) -> None:
        table.insert(queued("a"), queued("b"))
        table.abort("b")

        assert table.claim("a") == (Verdict.RUN, 0, "a", None, None)
        assert table.claim("a") == (Verdict.RUNNING, 1, "a", "rack", 2.0)
        assert table.claim("b").verdict is Verdict.RECORDED
        assert [(table.row(i).state, table.row(i).runs) for i in "ab"] == [("running", 1), ("aborted", 0)]

    def test_text_that_a_database_cannot_hold_is_made_storable(self, table: Table) -> None:
        table.insert(queued("a"))
        table.end(Ended("a", "a", State.FAILED, 3.0, error=steps.storable("nul \x00 half \ud800 ümläut")))

        assert table.row("a").error == "nul \N{REPLACEMENT CHARACTER} half ? ümläut"


class TestJobsOfManySteps:
    @pytest.fixture(autouse=True)
    def job(self, table: Table) -> None:
        table.insert(queued("root"))
        table.start("root")
        table.insert(queued("b", "root"), queued("c", "root"))

    def state(self, table: Table) -> tuple[str, float | None]:
        row = table.row("root")
        return row.job_state, None if row.open_steps else row.job_ended_at

    def test_it_runs_until_the_last_step_has_ended(self, table: Table) -> None:
        table.end(ended("root", "root", at=3.0))
        assert self.state(table) == ("running", None)
        table.end(ended("b", "root", at=4.0))
        assert self.state(table) == ("running", None)
        table.end(ended("c", "root", at=5.0))

        assert self.state(table) == ("done", 5.0)

    def test_steps_below_that_end_first_do_not_end_it(self, table: Table) -> None:
        table.end(ended("b", "root", at=3.0), ended("c", "root", at=4.0))
        assert self.state(table) == ("running", None)
        table.end(ended("root", "root", at=5.0))

        assert self.state(table) == ("done", 5.0)

    def test_all_may_end_in_one_batch_in_any_order(self, table: Table) -> None:
        table.end(ended("b", "root", at=4.0), ended("root", "root", at=3.5), ended("c", "root", at=3.0))

        assert self.state(table) == ("done", 4.0)

    def test_one_that_failed_makes_it_failed(self, table: Table) -> None:
        table.end(ended("b", "root", State.FAILED), ended("c", "root", State.ABORTED), ended("root", "root"))

        assert self.state(table)[0] == "failed"

    def test_one_that_was_aborted_makes_it_aborted(self, table: Table) -> None:
        table.end(ended("b", "root", State.ABORTED), ended("c", "root"), ended("root", "root"))

        assert self.state(table)[0] == "aborted"

    def test_a_step_that_ends_twice_counts_once_whoever_tells_it(self, table: Table) -> None:
        table.end(ended("b", "root"), ended("b", "root", State.FAILED))
        table.end(ended("b", "root", State.FAILED))

        assert (table.row("root").open_steps, table.row("root").failed_steps) == (1, 0)

    def test_a_step_that_is_sent_twice_counts_once(self, table: Table) -> None:
        table.insert(queued("c", "root"), queued("d", "root"), queued("d", "root"))

        assert table.row("root").open_steps == 3

    def test_a_retry_of_a_step_is_no_end_of_it(self, table: Table) -> None:
        table.end(Ended("b", "root", State.QUEUED, 3.0))

        assert table.row("root").open_steps == 2

    def test_an_abort_reaches_all_that_have_not_ended(self, table: Table) -> None:
        table.start("b")
        assert table.abort("root") == 3
        assert [table.row(i).state for i in ("root", "b", "c")] == ["running", "running", "aborted"]
        assert table.abort("root") == 0

        table.end(ended("b", "root", State.ABORTED), ended("root", "root"))
        assert self.state(table)[0] == "aborted"

    def test_a_step_whose_root_was_forgotten_harms_nobody(self, table: Table) -> None:
        table.insert(queued("x", "gone"))
        table.end(ended("x", "gone"))

        assert table.row("x").state == "done"


WRITERS = """
import sys, threading
from cloudmesh_actors import steps
from cloudmesh_actors.steps import Ended, Queued, Started, State
from cloudmesh_actors.store import Store
url, process, threads, writes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(url)
def work(thread):
    for number in range(writes):
        name = f"{process}-{thread}-{number}"
        with store.write(durable=number % 20 == 0) as c:
            steps.insert(c, store, [Queued(name, "root", "root", None, "a", "q", "{}", "", 1.0, None)])
            steps.start(c, [Started(name, "w", 2.0)])
        with store.write() as c:
            steps.end(c, [Ended(name, "root", State.DONE, 3.0)])
        assert steps.look_ahead(store, [name])[name].verdict == "recorded"
ts = [threading.Thread(target=work, args=(t,)) for t in range(threads)]
for t in ts: t.start()
for t in ts: t.join()
print("ok")
"""


class TestManyWriters:
    PROCESSES, THREADS, WRITES = 4, 4, 10

    def test_processes_and_threads_write_at_once_and_none_is_turned_away(self, table: Table, store_url: str) -> None:
        table.insert(queued("root"))
        command, sizes = [sys.executable, "-c", WRITERS, store_url], [str(self.THREADS), str(self.WRITES)]
        writers = [
            subprocess.Popen([*command, str(n), *sizes], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for n in range(self.PROCESSES)
        ]
        assert [writer.communicate(timeout=100)[0] for writer in writers] == ["ok\n"] * self.PROCESSES

        with table.store.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(steps.steps))
        assert total == self.PROCESSES * self.THREADS * self.WRITES + 1
        assert table.row("root").open_steps == 0

    def test_writers_of_the_same_rows_in_any_order_do_not_wait_for_each_other(self, table: Table) -> None:
        roots = [f"r{n}" for n in range(6)]
        table.insert(*(queued(root) for root in roots))
        caught: list[BaseException] = []

        def work(number: int) -> None:
            random = Random(number)
            try:
                for turn in range(15):
                    mine = random.sample(roots, len(roots))
                    table.insert(*(queued(f"{root}-{number}-{turn}", root) for root in mine))
                    table.end(*(ended(f"{root}-{number}-{turn}", root) for root in random.sample(mine, len(mine))))
                    if turn % 5 == 0:
                        table.abort(mine[0])
            except BaseException as error:
                caught.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert caught == []
        assert [table.row(root).open_steps for root in roots] == [0] * 6


class TestRunsInTheStore:
    @pytest.fixture
    def run(self, table: Table) -> RecordedRun:
        table.insert(queued("a"))
        table.start("a")
        return self.again(table)

    def again(self, table: Table, number: int = 2) -> RecordedRun:
        return RecordedRun(table.store, job_id="a", step_id="a", number=number, stopping=StopSignal())

    def test_marks_are_there_at_once_outcomes_after_a_flush(self, table: Table, run: RecordedRun) -> None:
        run.mark("i001", "off sent")
        run.mark("i001", "on sent")
        run.mark("i002", "off sent")
        assert self.again(table).marks() == {"i001": "on sent", "i002": "off sent"}

        run.outcome("i002", True, data={"power": "off"})
        run.flush(durable=True)
        assert self.again(table).marks() == {"i001": "on sent"}
        outcome = self.again(table).outcomes()["i002"]
        assert (outcome.ok, outcome.stage, outcome.data) == (True, "off sent", {"power": "off"})

    def test_a_mark_after_an_outcome_opens_the_node_again(self, table: Table, run: RecordedRun) -> None:
        run.outcome("i001", False, "silent", "unreachable", {"x": 1})
        run.flush()
        run.mark("i001", "on sent")

        assert self.again(table).outcomes() == {}
        assert self.again(table).marks() == {"i001": "on sent"}

    def test_text_of_errors_and_progress_is_storable(self, table: Table, run: RecordedRun) -> None:
        run.progress(1, 2, "half \ud800")
        run.outcome("i001", False, "nul \x00")
        run.flush()

        assert table.row("a").progress_note == "half ?"
        assert self.again(table).outcomes()["i001"].error == "nul \N{REPLACEMENT CHARACTER}"


class TestListsOfJobs:
    @pytest.fixture(autouse=True)
    def here(self, new_store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        monkeypatch.setenv("CLOUDMESH_STORE_URL", store_url)
        monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path))
        settings.reset()
        yield
        store.reset()

    def fill(self, table: Table) -> None:
        table.insert(*(queued(f"job{n}", at=float(n)) for n in range(6)))
        table.insert(queued("other", at=10.0)._replace(actor="rack.power"))
        table.insert(queued("pbs", at=11.0)._replace(queue="pbs"))
        table.insert(queued("child", "job1", at=12.0))
        table.start("job0", "job1", "job2", "job3", "job4", "child")
        table.end(ended("job0", "job0"), ended("job1", "job1"), ended("job2", "job2", State.FAILED))
        table.end(ended("job3", "job3"))

    def ids(self, found: Sequence[jobs.Job]) -> list[str]:
        return [job.id for job in found]

    def test_the_latest_come_first_and_steps_below_are_no_jobs(self, table: Table) -> None:
        self.fill(table)

        assert self.ids(jobs.latest()) == ["pbs", "other", "job5", "job4", "job3", "job2", "job1", "job0"]
        assert self.ids(jobs.latest(2)) == ["pbs", "other"]

    def test_they_are_chosen_by_the_whole_jobs_state(self, table: Table) -> None:
        self.fill(table)
        found = {state: self.ids(jobs.latest(state=state)) for state in State}

        assert found == {
            State.QUEUED: ["pbs", "other", "job5"],
            State.RUNNING: ["job4", "job1"],
            State.DONE: ["job3", "job0"],
            State.FAILED: ["job2"],
            State.ABORTED: [],
        }
        table.end(ended("child", "job1", State.ABORTED))
        assert self.ids(jobs.latest(state=State.ABORTED)) == ["job1"]

    def test_they_are_chosen_by_actor_and_queue(self, table: Table) -> None:
        self.fill(table)

        assert self.ids(jobs.latest(actor="rack.power")) == ["other"]
        assert self.ids(jobs.latest(queue="pbs")) == ["pbs"]
        assert self.ids(jobs.latest(queue="pbs", actor="rack.power")) == []

    @pytest.mark.parametrize(("text", "found"), [("job3", "job3"), ("oth", "other"), ("child", "job1"), ("p", "pbs")])
    def test_an_id_may_be_cut_short_and_a_steps_id_is_its_jobs(self, table: Table, text: str, found: str) -> None:
        self.fill(table)

        assert jobs.find(text) == jobs.get(text).id == found

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("job", "Several jobs' ids begin with 'job'."),
            ("job%", "There is no job 'job%'."),
            ("job_", "There is no job 'job_'."),
            ("\\", "There is no job '\\\\'."),
            ("", "There is no job ''."),
            ("nope", "There is no job 'nope'."),
        ],
    )
    def test_a_wrong_id_is_a_sentence(self, table: Table, text: str, sentence: str) -> None:
        self.fill(table)
        with pytest.raises(UnknownJob) as caught:
            jobs.get(text)
        assert str(caught.value) == sentence

    def test_a_job_failed_below_says_why(self, table: Table) -> None:
        self.fill(table)
        table.end(Ended("child", "job1", State.FAILED, 9.0, error="the child says no"))

        job = jobs.get("job1")
        assert (job.state, job.error) == (State.FAILED, "the child says no")

    def test_a_job_has_no_end_before_its_steps_have(self, table: Table) -> None:
        self.fill(table)
        assert jobs.get("job1").ended_at is None
        table.end(ended("child", "job1", at=20.0))

        assert jobs.get("job1").ended_at.timestamp() == 20.0

    def test_prune_forgets_what_is_too_old_with_its_steps_and_nodes(self, table: Table) -> None:
        self.fill(table)
        table.end(ended("child", "job1", at=4.0))
        run = RecordedRun(table.store, job_id="job1", step_id="child", number=1, stopping=StopSignal())
        run.mark("i001", "off sent")

        assert jobs.prune(now=3.5 + settings.current().job_keep_days * 86_400) == 3  # job1's last step ended at 4

        assert self.ids(jobs.latest()) == ["pbs", "other", "job5", "job4", "job1"]
        assert jobs.prune(now=100.0 + settings.current().job_keep_days * 86_400) == 1
        with table.store.read() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(steps.node_outcomes)) == 0
            left = set(connection.scalars(sa.select(steps.steps.c.id)))
        assert left == {"pbs", "other", "job5", "job4"}

    def test_prune_keeps_so_many_of_those_that_ended(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOUDMESH_JOB_KEEP_COUNT", "2")
        monkeypatch.setattr(jobs, "PRUNE_AT_ONCE", 3)
        settings.reset()
        table.insert(*(queued(f"j{n}", at=float(n)) for n in range(12)))
        table.end(*(ended(f"j{n}", f"j{n}") for n in range(10)))

        assert jobs.prune(now=4.0) == 8

        assert self.ids(jobs.latest()) == ["j11", "j10", "j9", "j8"]
        assert jobs.prune(now=4.0) == 0

    def test_a_job_whose_steps_below_are_done_but_which_runs_itself_is_kept(self, table: Table) -> None:
        table.insert(queued("root"))
        table.start("root")
        table.insert(queued("below", "root"))
        table.end(ended("below", "root"))

        assert jobs.prune(now=10.0**9) == 0
        assert jobs.get("root").state is State.RUNNING


class TestAServerThatGoesAway:
    @pytest.fixture
    def store_url(self, postgresql_store_url: str) -> str:
        return postgresql_store_url

    def test_a_session_that_the_server_ends_costs_one_sentence(self, table: Table) -> None:
        engine = sa.create_engine(table.store.url, isolation_level="AUTOCOMMIT")

        with pytest.raises(StoreUnavailable, match=r"does not answer|went away"), table.store.write() as connection:
            pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            with engine.connect() as other:
                other.execute(sa.text(f"SELECT pg_terminate_backend({pid})"))
            steps.insert(connection, table.store, [queued("b")])
        engine.dispose()

        table.insert(queued("b"))
        assert table.row("b").state == "queued"
