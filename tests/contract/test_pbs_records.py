"""Snapshots of batch servers in the store, and who may ask for one, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pbs_fakes
import postgresql
import pytest
import sqlalchemy as sa
from pbs_fakes import NOON, Asked, job, listing, node, queue, running

from cloudmesh_actors import settings
from cloudmesh_actors.errors import ArgumentError, CloudmeshError, UnknownJob, UnknownNode, Unreachable
from cloudmesh_actors.pbs import packs, records, snapshots, tables
from cloudmesh_actors.pbs.freshness import Window
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.model import JobState, Slots
from cloudmesh_actors.store import Store

NOW = datetime.fromtimestamp(NOON, UTC)

OURS = [table for table in tables.metadata.sorted_tables if table.name.startswith("pbs_")]


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Store]:
    with postgresql.server() as url:
        store = Store(url, check_schema=False)
        store.upgrade()
        yield store
        store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path}/store.db")
        yield store
        store.close()
    else:
        store = request.getfixturevalue("on_postgresql")
        yield store
        with store.write() as connection:
            for table in OURS:
                connection.execute(table.delete())


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(pbs_fakes.SITE)
    monkeypatch.setenv("CLOUDMESH_SITE", str(tmp_path / "site.yaml"))
    settings.reset()


def take(store: Store, taken: Listing) -> None:
    assert Window(taken.server, 0, lambda: taken, store).refresh()


def fail(store: Store, server: str = "torque1") -> None:
    Window(server, 0, Asked(lambda _: Unreachable(f"{server}: nobody answers.")), store).refresh()


def rows_of(store: Store, table: sa.Table) -> set[int]:
    with store.read() as connection:
        return set(connection.scalars(sa.select(table.c.snapshot)))


class TestWhatIsStored:
    def test_a_job_comes_back_as_it_was(self, store: Store) -> None:
        there = running(
            1, "i001", "i002", memory=2**50, memory_used=5, walltime_used=60, ended=NOON + 9, exit_status=-11
        )
        take(store, listing([there]))

        [found] = records.jobs(attributes=True, of=store)

        assert {name: getattr(found, name) for name in there.__slots__} == {
            name: getattr(there, name) for name in there.__slots__
        }
        assert (found.server, found.cluster) == ("torque1", "india")
        assert found.nodes == [Slots("i001", 4), Slots("i002", 4)]

    def test_queues_and_nodes_come_back_as_they_were(self, store: Store) -> None:
        there = queue("batch", total=7, states={"Queued": 7}, enabled=False)
        machine = node("i001", "down", "offline", jobs=["1.torque1"], load=None)
        take(store, listing([], [there], [machine]))

        [found_queue], [found_node] = records.queues(of=store), records.nodes(of=store)

        assert all(getattr(found_queue, name) == getattr(there, name) for name in there.__slots__)
        assert all(getattr(found_node, name) == getattr(machine, name) for name in machine.__slots__)

    def test_attributes_are_those_of_the_job_that_was_asked_for(self, store: Store) -> None:
        count = 3 * packs.SIZE + 1
        take(store, listing([job(number, attributes={"n": str(number)}) for number in range(count)]))

        for number in (0, packs.SIZE - 1, packs.SIZE, count - 1):
            assert records.attributes(f"{number}.torque1", of=store) == {"n": str(number)}
        assert [found.attributes["n"] for found in records.jobs(attributes=True, of=store)] == list(
            map(str, range(count))
        )
        with pytest.raises(UnknownJob, match=f"{count}.torque1"):
            records.attributes(f"{count}.torque1", of=store)

    def test_what_databases_do_not_take_costs_no_more_than_itself(self, store: Store) -> None:
        odd = job(1, name="a\0b\ud800c", cpus=2**70, attributes={"x": "\ud800\0"})
        take(store, listing([odd, job(2)]))

        first, second = records.jobs(attributes=True, of=store)

        assert (first.name, first.cpus, second.name) == ("ab?c", None, "run2")
        assert first.attributes == {"x": "?\0"}

    def test_more_jobs_than_are_written_at_once(self, store: Store) -> None:
        count = snapshots.ROWS_AT_ONCE + 3
        take(store, listing([job(number) for number in range(count)]))

        assert [found.id for found in records.jobs(of=store)] == [f"{number}.torque1" for number in range(count)]

    def test_a_server_without_jobs_has_none(self, store: Store) -> None:
        take(store, listing([]))

        assert records.jobs(of=store) == []
        assert [state.ok for state in records.servers("india", store)] == [True]

    def test_the_migration_makes_the_tables_that_are_declared(self, store: Store) -> None:
        inspector = sa.inspect(store.engine)
        for table in OURS:
            made = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            assert made == {column.name: bool(column.nullable) for column in table.columns}
            indices = {index["name"] for index in inspector.get_indexes(table.name)}
            assert indices == {index.name for index in table.indexes}


class TestWhoseItIs:
    @pytest.fixture(autouse=True)
    def full(self, store: Store) -> None:
        mine = [
            running(1, "i001", "i002"), running(2, "i002", owner="bob", queue="long"), job(3, owner="bob"),
            running(4, "d001", queue="delta", state=JobState.SUSPENDED), job(5, queue="lost"),
            running(6, "i001", owner="bob", state=JobState.COMPLETED),
        ]  # fmt: skip
        queues = [queue("batch"), queue("long"), queue("delta"), queue("lost"), queue("empty")]
        nodes = [node("i001"), node("i002.example.org"), node("d001"), node("x9")]
        take(store, listing(mine, queues, nodes))
        take(store, listing([job(1, id="1.torque2")], [queue("batch")], [node("e001")], server="torque2"))

    def test_queues_belong_to_the_cluster_that_the_site_says(self, store: Store) -> None:
        assert [(found.name, found.server, found.cluster) for found in records.queues(of=store)] == [
            ("batch", "torque1", "india"), ("long", "torque1", "india"), ("delta", "torque1", "delta"),
            ("lost", "torque1", None), ("empty", "torque1", None), ("batch", "torque2", "echo"),
        ]  # fmt: skip

    def test_a_queue_counts_its_jobs_by_state(self, store: Store) -> None:
        counts = {found.name: found.jobs for found in records.queues("india", store)}

        assert counts == {"batch": {"R": 1, "Q": 1, "C": 1}, "long": {"R": 1}}

    def test_nodes_belong_to_the_cluster_whose_set_they_are_in(self, store: Store) -> None:
        assert {found.name: found.cluster for found in records.nodes(of=store)} == {
            "i001": "india", "i002.example.org": "india", "d001": "delta", "x9": None, "e001": "echo",
        }  # fmt: skip
        assert [found.name for found in records.nodes("india", store)] == ["i001", "i002.example.org"]

    @pytest.mark.parametrize(
        ("wanted", "numbers"),
        [
            ({}, "1234561"),
            ({"cluster": "india"}, "1236"),
            ({"cluster": "echo"}, "1"),
            ({"cluster": "india", "user": "bob"}, "236"),
            ({"user": "bob", "state": "R"}, "2"),
            ({"state": "queued"}, "351"),
            ({"queue": "lost"}, "5"),
            ({"cluster": "delta", "queue": "batch"}, ""),
            ({"user": "nobody"}, ""),
        ],
    )
    def test_jobs_are_found_by_cluster_user_state_and_queue(
        self, store: Store, wanted: dict[str, str], numbers: str
    ) -> None:
        assert "".join(found.id[0] for found in records.jobs(**wanted, of=store)) == numbers

    def test_jobs_in_a_queue_of_no_cluster_are_shown_as_such(self, store: Store) -> None:
        assert [found.id for found in records.jobs(of=store) if found.cluster is None] == ["5.torque1"]

    def test_users_are_counted_with_what_their_jobs_hold(self, store: Store) -> None:
        assert records.users("india", store) == [
            records.Usage("alice", jobs=1, running=1, queued=0, cpus=8, nodes=2),
            records.Usage("bob", jobs=3, running=1, queued=1, cpus=4, nodes=1),
        ]
        assert {usage.user: (usage.jobs, usage.cpus, usage.nodes) for usage in records.users(of=store)} == {
            "alice": (4, 12, 3), "bob": (3, 4, 1),
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("wanted", "error", "sentence"),
        [
            ({"cluster": "indja"}, UnknownNode, "no cluster 'indja'; did you mean india?"),
            ({"cluster": "bravo"}, ArgumentError, "bravo has no batch queues"),
            ({"state": "runing"}, ArgumentError, "no state 'runing' of batch jobs; did you mean running?"),
        ],
    )
    def test_what_there_is_not_is_named_with_a_near_miss(
        self, store: Store, wanted: dict[str, str], error: type[CloudmeshError], sentence: str
    ) -> None:
        with pytest.raises(error, match=sentence.replace("?", r"\?")):
            records.jobs(**wanted, of=store)


class TestReplacing:
    def test_nothing_of_the_old_snapshot_is_left(self, store: Store) -> None:
        take(store, listing([job(number) for number in range(200)]))
        take(store, listing([job(1000)]))

        [state] = records.servers("india", store)
        assert [found.id for found in records.jobs(of=store)] == ["1000.torque1"]
        for table in (tables.jobs, tables.job_attributes, tables.queues, tables.nodes):
            assert rows_of(store, table) == {state.snapshot}

    def test_a_failure_leaves_the_last_good_one_with_its_age_and_the_error(self, store: Store) -> None:
        take(store, listing([job(1)], damaged=("job 2 (line 7): no state",)))
        [before] = records.servers("india", store)
        fail(store)

        [state] = records.servers("india", store)
        assert (state.ok, state.error, state.error_kind) == (False, "torque1: nobody answers.", "unreachable")
        assert (state.snapshot, state.jobs, state.damages) == (before.snapshot, 1, ("job 2 (line 7): no state",))
        assert state.age is not None
        assert len(records.jobs("india", of=store)) == 1

    def test_a_success_ends_the_error(self, store: Store) -> None:
        fail(store)
        take(store, listing())

        [state] = records.servers("india", store)
        assert (state.ok, state.error) == (True, None)

    def test_a_server_that_was_never_asked_is_told_of(self, store: Store) -> None:
        assert [(state.server, state.ok, state.snapshot) for state in records.servers(of=store)] == [
            ("torque1", False, None), ("torque2", False, None),
        ]  # fmt: skip

    def test_readers_see_the_old_or_the_new_one_and_never_a_mix(self, store: Store) -> None:
        def of_turn(turn: int) -> Listing:
            return listing([job(number, owner=f"turn{turn}") for number in range(300)], nodes=[node(f"t{turn}")])

        take(store, of_turn(0))
        over = threading.Event()
        seen: list[tuple[set[str], int, list[str]]] = []

        def look() -> None:
            while not over.is_set():
                with records.reading(of=store) as reading:
                    jobs, nodes = reading.jobs(), reading.nodes()
                seen.append(({found.owner for found in jobs}, len(jobs), [found.name for found in nodes]))

        with ThreadPoolExecutor(2) as pool:
            lookers = [pool.submit(look) for _ in range(2)]
            for turn in range(1, 9):
                take(store, of_turn(turn))
            over.set()
            for looker in lookers:
                looker.result()

        assert {count for _, count, _ in seen} == {300}
        assert all(owners == {f"turn{name[1:]}"} for owners, _, [name] in seen)
        assert len({name for _, _, [name] in seen}) > 1

    def test_what_a_killed_writer_left_goes_with_the_next_snapshot(self, store: Store) -> None:
        left = snapshots.add(listing([job(number) for number in range(100)]), store)
        assert records.jobs(of=store) == []
        take(store, listing([job(1)]))

        assert left not in rows_of(store, tables.jobs)

    def test_rows_that_nobody_points_to_are_pruned(self, store: Store) -> None:
        take(store, listing([job(1)]))
        kept = rows_of(store, tables.jobs)
        left = snapshots.add(listing([job(2)]), store)
        with store.write() as connection:
            connection.execute(tables.snapshots.delete().where(tables.snapshots.c.id == left))
        records.prune(keep_days=1, of=store)

        assert rows_of(store, tables.jobs) == kept


class TestHistory:
    def test_counts_are_kept_by_queue_and_state(self, store: Store) -> None:
        take(store, listing([job(1), job(2), running(3, "i001"), job(4, queue="lost")], taken_at=NOON))
        take(store, listing([running(1, "i001")], taken_at=NOON + 600))

        found = records.history(NOW, NOW + timedelta(hours=1), of=store)

        assert [(entry.time, entry.queue, entry.cluster, entry.states) for entry in found] == [
            (NOW, "batch", "india", {"Q": 2, "R": 1}),
            (NOW, "lost", None, {"Q": 1}),
            (NOW + timedelta(minutes=10), "batch", "india", {"R": 1}),
        ]
        assert [entry.queue for entry in records.history(NOW, NOW + timedelta(hours=1), "india", store)] == [
            "batch"
        ] * 2

    def test_of_five_minutes_the_last_counts_are_kept(self, store: Store) -> None:
        for second in range(0, 300, 60):
            take(store, listing([job(number) for number in range(second)], taken_at=NOON + second))

        [entry] = records.history(NOW, NOW + timedelta(hours=1), of=store)
        assert (entry.time, entry.states) == (NOW, {"Q": 240})

    def test_it_begins_with_since_and_ends_before_until(self, store: Store) -> None:
        for minute in range(0, 20, 5):
            take(store, listing(taken_at=NOON + 60 * minute))

        found = records.history(NOW + timedelta(minutes=5), NOW + timedelta(minutes=15), of=store)
        assert [entry.time.minute for entry in found] == [5, 10]

    def test_what_is_too_old_is_forgotten_but_not_the_snapshot(self, store: Store) -> None:
        take(store, listing([job(1)], taken_at=NOON - 3 * 86_400))
        take(store, listing([job(1)], taken_at=NOON - 86_400))
        records.prune(NOW, keep_days=2, of=store)

        found = records.history(NOW - timedelta(days=9), NOW, of=store)
        assert [entry.time for entry in found] == [NOW - timedelta(days=1)]
        assert len(records.jobs(of=store)) == 1

    def test_servers_that_the_site_no_longer_has_are_forgotten(self, store: Store) -> None:
        take(store, listing([job(1)], server="gone"))
        records.prune(keep_days=1, of=store)
        assert rows_of(store, tables.jobs)
        records.prune(datetime.now(UTC) + timedelta(days=2), keep_days=1, of=store)

        assert rows_of(store, tables.jobs) == set()
        with store.read() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(tables.servers)) == 0


class TestAskingOncePerWindow:
    def test_within_the_window_nobody_is_asked_again(self, store: Store) -> None:
        ask = Asked()

        assert [Window("torque1", 30, ask, store).refresh() for _ in range(3)] == [True, False, False]
        assert ask.times == 1

    def test_after_the_window_the_server_is_asked_again(self, store: Store) -> None:
        ask, now = Asked(), float(NOON)
        for seconds in (0, 29.9, 30.1, 59, 61):
            Window("torque1", 30, ask, store, now=lambda _, at=now + seconds: at).refresh()

        assert ask.times == 3

    def test_a_failure_counts_from_its_end_and_its_error_is_for_all(self, store: Store) -> None:
        ask = Asked(lambda _: Unreachable("torque1: nobody answers."))
        for _ in range(3):
            Window("torque1", 30, ask, store).refresh()

        assert ask.times == 1
        assert [state.error for state in records.servers("india", store)] == ["torque1: nobody answers."]

    def test_a_bug_is_an_error_for_all_too(self, store: Store) -> None:
        Window("torque1", 30, lambda: listing(1 // 0), store).refresh()  # type: ignore[arg-type]

        [state] = records.servers("india", store)
        assert state.error_kind == "bug"
        assert "ZeroDivisionError" in str(state.error)

    @pytest.mark.parametrize("max_age", [0, 30])
    def test_sixteen_at_once_are_one_question_and_one_answer(self, store: Store, max_age: float) -> None:
        ask = Asked(takes_s=0.4)
        together = threading.Barrier(16)

        def want(_: int) -> list[str]:
            window = Window("torque1", max_age, ask, store)
            together.wait()
            window.refresh()
            return [found.id for found in records.jobs(of=store)]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(want, range(16)))

        assert ask.most_at_once == 1
        assert ask.times <= (1 if max_age else 2)
        assert all(answer in [[f"{number}.torque1"] for number in range(1, ask.times + 1)] for answer in answers)

    def test_one_server_does_not_wait_for_another(self, store: Store) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def slow() -> Listing:
            inside.set()
            assert go_on.wait(20)
            return listing()

        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(Window("torque1", 30, slow, store).refresh)
            assert inside.wait(20)
            assert Window("torque2", 30, lambda: listing(server="torque2"), store).refresh()
            go_on.set()
            assert held.result()

    def test_an_owner_that_died_is_succeeded_when_its_claim_has_run_out(self, store: Store) -> None:
        ask = Asked()
        window = Window("torque1", 30, ask, store, claim_s=0.5)
        window._insert_row()
        assert window._take_claim(float(NOON)) is not None  # and is never heard of again

        assert Window("torque1", 30, ask, store, claim_s=0.5).refresh()
        assert ask.times == 1

    def test_a_run_that_is_stopped_gives_its_claim_back(self, store: Store) -> None:
        class Stopped(BaseException):
            pass

        def stop() -> Listing:
            raise Stopped

        with pytest.raises(Stopped):
            Window("torque1", 30, stop, store, claim_s=60).refresh()

        assert Window("torque1", 30, Asked(), store, claim_s=60).refresh()

    def test_a_claim_is_kept_alive_for_as_long_as_the_conversation_takes(self, store: Store) -> None:
        ask = Asked(takes_s=1.5)
        with ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(Window("torque1", 30, ask, store, claim_s=0.4).refresh) for _ in range(2)]

        assert sorted(task.result() for task in asking) == [False, True]
        assert ask.times == 1

    def test_an_owner_that_was_overtaken_drops_what_it_brought(self, store: Store) -> None:
        late = Window("torque1", 30, lambda: listing([job(666)]), store)
        late._insert_row()
        claim = late._take_claim(float(NOON))
        assert claim is not None
        with store.write() as connection:
            connection.execute(tables.servers.update().values(claim="another"))
        snapshot, taken = late._fetch()

        with pytest.raises(Exception, match=r"^$"):
            late._settle(claim, snapshot, taken)
        assert rows_of(store, tables.jobs) == set()
        assert records.jobs(of=store) == []

    def test_a_clock_that_was_set_back_makes_nothing_fresh_for_long(self, store: Store) -> None:
        ask = Asked()
        Window("torque1", 30, ask, store, now=lambda _: NOON + 1e6).refresh()

        assert Window("torque1", 30, ask, store, now=lambda _: float(NOON)).refresh()
        assert ask.times == 2
