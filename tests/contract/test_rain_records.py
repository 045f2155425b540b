"""What the store keeps of deploys, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from cloudmesh_actors import steps
from cloudmesh_actors.clients.cobbler.model import Installation
from cloudmesh_actors.rain import records
from cloudmesh_actors.rain.model import Deploy
from cloudmesh_actors.rain.records import Overtaken
from cloudmesh_actors.rain.stages import Stage
from cloudmesh_actors.runs import recorded_outcomes
from cloudmesh_actors.steps import Ended, Queued, State
from cloudmesh_actors.store import Store

JOB = "a-job"


@pytest.fixture
def store(new_store: Store) -> Iterator[Store]:
    with new_store.write() as connection:
        steps.insert(
            connection, new_store, [Queued(JOB, JOB, None, None, "rain.deploy_system", "rain", "{}", "", 1, None)]
        )
    records.begin([asked("i001"), asked("i002")], new_store)
    yield new_store


def asked(node: str) -> Deploy:
    return Deploy(job_id=JOB, node=node, profile="hpc", requested_at=5.0, stage_at=5.0, wait_lease=3.0)


def of(node: str, store: Store) -> Deploy:
    found = records.get(JOB, node, store)
    assert found is not None
    return found


def progress(store: Store) -> tuple[int, int, str | None]:
    columns = steps.steps.c
    with store.read() as connection:
        query = sa.select(columns.progress_done, columns.progress_total, columns.progress_note)
        done, total, note = connection.execute(query.where(columns.id == JOB)).one()
    return done, total, note


def test_a_deploy_comes_back_as_it_was_kept(store: Store) -> None:
    deploy = of("i001", store)
    assert deploy == asked("i001")

    after = records.change(
        deploy, store, stage=Stage.SWITCHED_OFF, sent_at=7.5, sent_times=1, event_id="e", before=Installation(1.5, 2.5)
    )

    assert of("i001", store) == after
    assert (after.version, after.before) == (1, Installation(1.5, 2.5))
    assert of("i002", store) == asked("i002")


def test_of_two_who_saw_the_same_only_the_first_changes_it(store: Store) -> None:
    seen = of("i001", store)
    records.change(seen, store, stage=Stage.PREPARED)

    with pytest.raises(Overtaken):
        records.change(seen, store, stage=Stage.FAILED)

    assert of("i001", store).stage is Stage.PREPARED


def test_asked_for_again_it_stays_as_far_as_it_has_come(store: Store) -> None:
    records.change(of("i001", store), store, stage=Stage.PREPARED)

    records.begin([asked("i001"), asked("i002")], store)

    assert of("i001", store).stage is Stage.PREPARED


def test_the_job_tells_the_stage_of_each_node_and_how_many_have_ended(store: Store) -> None:
    assert progress(store) == (0, 2, None)
    deploy = records.change(of("i001", store), store, stage=Stage.PREPARED)
    assert progress(store) == (0, 2, "i001 prepared")
    records.change(deploy, store, stage=Stage.INSTALLED)
    records.change(of("i002", store), store, stage=Stage.FAILED, error="i002: no\x00luck", error_kind="deadline")

    assert progress(store) == (2, 2, "i002 failed")
    outcomes = recorded_outcomes(store, JOB)
    assert (outcomes["i001"].ok, outcomes["i001"].stage, outcomes["i001"].error) == (True, "installed", None)
    assert (outcomes["i002"].ok, outcomes["i002"].error_kind) == (False, "deadline")
    assert outcomes["i002"].error == "i002: no\N{REPLACEMENT CHARACTER}luck"


def test_trouble_is_told_before_the_end(store: Store) -> None:
    records.change(of("i001", store), store, trouble="the Cobbler main cannot be reached")

    outcome = recorded_outcomes(store, JOB)["i001"]
    assert (outcome.ok, outcome.error) == (None, "the Cobbler main cannot be reached")


def test_deploys_are_left_behind_when_their_job_has_ended_and_they_have_not(store: Store) -> None:
    records.change(of("i001", store), store, stage=Stage.INSTALLED)
    assert records.left_behind(store) == []

    with store.write() as connection:
        steps.end(connection, [Ended(JOB, JOB, State.ABORTED, time.time())])

    assert [deploy.node for deploy in records.left_behind(store)] == ["i002"]


def test_they_go_with_their_job(store: Store) -> None:
    with store.write() as connection:
        connection.execute(sa.delete(steps.node_outcomes))
        connection.execute(sa.delete(steps.steps))

    assert records.of_job(JOB, store) == []


def test_the_latest_come_first(store: Store) -> None:
    assert [deploy.node for deploy in records.latest(of=store)] == ["i001", "i002"]
    assert [deploy.node for deploy in records.latest(["i002"], of=store)] == ["i002"]
