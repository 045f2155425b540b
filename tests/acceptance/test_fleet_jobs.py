"""Jobs in a fleet that is stopped, restarted or behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import FleetUnderTest, eventually, fleet

from cloudmesh_actors import jobs
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.rack.actors import read_sensors

#: BMCs that take two seconds for each answer.
SITE = """
clusters:
  test: {nodes: "s[1-3]"}
bmcs:
  "s[1-3]": {driver: simulator, faults: {"s[1-3]": slow}}
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[FleetUnderTest]:
    """A fleet of one worker that works on one node at a time."""
    site = tmp_path / "site.yml"
    site.write_text(SITE)
    with fleet(tmp_path / "logs", WORKERS="rack=1", SITE=site, FANOUT=1, GRACE=30) as it:
        yield it


def send(it: FleetUnderTest, nodes: str) -> str:
    with it.here():
        return read_sensors.send(nodes).message_id


def job(it: FleetUnderTest, job_id: str) -> Job:
    with it.here():
        return jobs.get(job_id)


def states(it: FleetUnderTest) -> list[str]:
    with it.here():
        return [job.state for job in jobs.latest()]


def test_down_lets_a_running_job_finish(one: FleetUnderTest) -> None:
    one.up()
    job_id = send(one, "s1")
    eventually(lambda: job(one, job_id).state == "running")

    one.run("down")

    assert job(one, job_id).state == "done"
    assert job(one, job_id).runs == 1


def test_what_does_not_finish_in_the_grace_time_goes_back_and_is_finished_after_the_next_up(
    one: FleetUnderTest,
) -> None:
    one.settings["GRACE"] = "0.5"
    one.up()
    job_id = send(one, "s[1-3]")
    eventually(lambda: job(one, job_id).state == "running")

    began = time.monotonic()
    one.run("down")
    assert time.monotonic() - began < 25
    assert job(one, job_id).state == "queued"

    one.settings["FANOUT"] = "3"
    one.up()
    eventually(lambda: job(one, job_id).state == "done", within_s=60)
    assert job(one, job_id).runs == 2


def test_beat_reads_all_bmcs_but_never_piles_up(one: FleetUnderTest) -> None:
    one.settings |= {"SENSORS_INTERVAL": "0.2", "FANOUT": "3"}
    one.up()
    eventually(lambda: states(one).count("done") >= 2, within_s=60)

    one.supervisor().stop(["rack"], 60)
    log = one.log_dir / "beat.log"
    skipped = log.read_text().count("chore.skipped")
    eventually(lambda: log.read_text().count("chore.skipped") >= skipped + 10)

    assert states(one).count("queued") == 1
    assert one.status()["rack"].waiting == 1
