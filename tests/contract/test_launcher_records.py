"""What the store keeps of launches, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudmesh_actors import steps
from cloudmesh_actors.launcher import records
from cloudmesh_actors.launcher.model import LaunchState
from cloudmesh_actors.steps import Ended, Queued, Started, State
from cloudmesh_actors.store import Store, metadata

SERVERS = ("i001", "i002", "i003")


def launch(
    store: Store, job: str, servers: Sequence[str] = SERVERS, recipe: str = "slurm", *, rows: bool = True
) -> None:
    """A job with a step for each server, as `launcher.launch` makes it."""
    pairs = [(f"{job}-{server}", server) for server in servers]
    records.add(job, recipe, {"cores": 4}, pairs, to=store)
    if rows:
        queued = [Queued(i, job, job if i != job else None, None, "launcher.deploy", "launcher", "{}", "me@here",
                         time.time(), None, None) for i in (job, *(step for step, _ in pairs))]  # fmt: skip
        with store.write() as connection:
            steps.insert(connection, store, queued)
            steps.start(connection, [Started(job, "l1", time.time())])
            steps.end(connection, [Ended(job, job, State.DONE, time.time())])


def states(store: Store, **which: str) -> list[tuple[str, str]]:
    return [(it.server, it.state.value) for it in records.launches(**which, of=store)]  # type: ignore[arg-type]


def test_the_migration_makes_the_table_as_it_is_declared(new_store: Store) -> None:
    found = sa.inspect(new_store.engine)
    declared = metadata.tables["launcher_launches"]

    assert [column["name"] for column in found.get_columns(declared.name)] == [column.name for column in declared.c]
    assert {index["name"] for index in found.get_indexes(declared.name)} == {index.name for index in declared.indexes}


def test_a_launch_goes_from_queued_to_active(new_store: Store) -> None:
    launch(new_store, "job")
    assert states(new_store) == [(server, "queued") for server in SERVERS]

    begun = records.begin("job-i001", new_store)
    assert begun == records.Begun(LaunchState.QUEUED)
    assert states(new_store)[0] == ("i001", "running")
    records.deploying("job-i001", "job-i001", "simulator", to=new_store)
    records.printed("job-i001", "one\n", new_store)
    assert states(new_store)[0] == ("i001", "deploy")
    assert records.output("job-i001", new_store) == "one\n"
    records.end("job-i001", LaunchState.ACTIVE, output="one\ntwo\n", to=new_store)

    first = records.get("job-i001", new_store)
    assert first
    assert (first.state, first.ended, first.error, first.parameters) == ("active", True, None, {"cores": 4})
    assert first.started_at
    assert first.ended_at
    assert first.created_at <= first.started_at <= first.ended_at
    assert records.output("job-i001", new_store) == "one\ntwo\n"
    assert records.counts("job", new_store) == {LaunchState.ACTIVE: 1, LaunchState.QUEUED: 2}


def test_the_first_word_about_the_end_counts(new_store: Store) -> None:
    launch(new_store, "job")
    records.begin("job-i001", new_store)

    records.end("job-i001", LaunchState.ERROR, error="no disk", error_kind="script", output="x", to=new_store)
    records.end("job-i001", LaunchState.ACTIVE, to=new_store)
    records.printed("job-i001", "later", new_store)

    assert records.begin("job-i001", new_store) == records.Begun(LaunchState.ERROR, "no disk", "script")
    assert records.output("job-i001", new_store) == "x"
    assert states(new_store, state="error") == [("i001", "error")]


def test_a_second_run_finds_the_script_of_the_first(new_store: Store) -> None:
    launch(new_store, "job")
    records.begin("job-i001", new_store)
    started = records.get("job-i001", new_store)
    records.deploying("job-i001", "its-name", "local@here", to=new_store)

    assert records.begin("job-i001", new_store) == records.Begun(
        LaunchState.DEPLOY, script="its-name", place="local@here"
    )
    again = records.get("job-i001", new_store)
    assert started
    assert again
    assert again.started_at == started.started_at


def test_what_is_added_again_stays_as_it_is(new_store: Store) -> None:
    launch(new_store, "job")
    records.begin("job-i001", new_store)

    launch(new_store, "job", rows=False)

    assert states(new_store) == [("i001", "running"), ("i002", "queued"), ("i003", "queued")]
    assert records.begin("job-i009", new_store) is None
    assert records.get("job-i009", new_store) is None
    assert records.output("job-i009", new_store) == ""


def test_a_launch_whose_step_ended_without_its_knowing_has_the_state_of_its_step(new_store: Store) -> None:
    launch(new_store, "job")
    records.begin("job-i002", new_store)
    records.deploying("job-i002", "name", "simulator", to=new_store)
    with new_store.write() as connection:
        steps.abort(connection, "job", time.time())
        steps.end(connection, [Ended("job-i003", "job", State.FAILED, time.time(), error="set aside")])

    assert states(new_store) == [("i001", "aborted"), ("i002", "aborted"), ("i003", "aborted")]
    assert all(it.ended_at for it in records.launches(of=new_store))
    assert records.left_alone(new_store) == ["job-i002"]
    assert states(new_store, state="aborted") == states(new_store)
    assert [(stat.state.value, stat.count) for stat in records.stats(new_store)] == [("aborted", 1)] * 3


def test_pages_follow_each_other_without_gap(new_store: Store) -> None:
    servers = [f"i{n:03}" for n in range(7)]
    launch(new_store, "first", servers)
    launch(new_store, "second", servers)

    pages, last = [], None
    while page := records.launches(before=last, limit=3, of=new_store):
        pages.append([it.step_id for it in page])
        last = page[-1].step_id

    assert [step for page in pages for step in page] == [
        f"{job}-{server}" for job in ("second", "first") for server in servers
    ]
    assert len(records.launches(before="forgotten", of=new_store)) == 14


def test_launches_are_found_by_what_they_have(new_store: Store) -> None:
    launch(new_store, "one", recipe="slurm")
    launch(new_store, "two", recipe="hadoop")

    assert [it.job_id for it in records.launches(recipe="hadoop", of=new_store)] == ["two"] * 3
    assert [it.job_id for it in records.launches(server="i002", of=new_store)] == ["two", "one"]
    assert [it.server for it in records.launches(job="one", server="i003", state="queued", of=new_store)] == ["i003"]
    assert records.launches(recipe="' OR 1=1 --", of=new_store) == []
    with pytest.raises(ValueError, match="nonsense"):
        records.launches(state="nonsense", of=new_store)


def test_statistics_count_by_recipe_server_and_state_with_durations(new_store: Store) -> None:
    for job in ("one", "two"):
        launch(new_store, job, ["i001"])
        records.begin(f"{job}-i001", new_store)
        records.end(f"{job}-i001", LaunchState.ACTIVE, to=new_store)
    launch(new_store, "three", ["i001"])

    active, queued = records.stats(new_store)

    assert (active.recipe, active.server, active.state, active.count) == ("slurm", "i001", "active", 2)
    assert active.shortest is not None
    assert active.mean is not None
    assert active.longest is not None
    assert 0 <= active.shortest <= active.mean <= active.longest < 10
    assert (queued.state, queued.count, queued.mean) == ("queued", 1, None)


def test_only_what_has_ended_is_forgotten(new_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FORGOTTEN_AT_ONCE", 2)
    launch(new_store, "job", [f"i00{n}" for n in range(7)])
    for number in range(5):
        records.begin(f"job-i00{number}", new_store)
        records.end(f"job-i00{number}", LaunchState.ERROR, error="x", to=new_store)

    assert records.prune(time.time(), of=new_store) == 0
    assert records.prune(time.time() + 91 * 86_400, of=new_store) == 5
    assert records.reset(new_store) == 0
    assert len(records.launches(of=new_store)) == 2


def test_a_launch_outlives_its_job(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db")
    launch(store, "job", rows=False)
    records.begin("job-i001", store)
    records.end("job-i001", LaunchState.ACTIVE, to=store)

    [first, *_] = records.launches(of=store)
    assert (first.state, first.worker) == ("active", None)
    store.close()
