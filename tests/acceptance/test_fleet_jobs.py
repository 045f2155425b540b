"""Jobs in a fleet that is stopped, restarted or behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import FleetUnderTest, eventually, fleet

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, settings, store
from cloudmesh_actors.rack.actors import read_sensors

#: BMCs that take two seconds for each answer.
SITE = """
clusters:
  test: {nodes: "s[1-3]"}
bmcs:
  "s[1-3]": {driver: simulator, faults: {"s[1-3]": slow}}
"""


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetUnderTest]:
    """A fleet of one worker that works on one node at a time; this process has the same settings."""
    site = tmp_path / "site.yml"
    site.write_text(SITE)
    with fleet(tmp_path / "logs", WORKERS="rack=1", SITE=site, FANOUT=1, GRACE=30) as it:
        for name, value in it.environment.items():
            monkeypatch.setenv(name, value)
        settings.reset()
        yield it
        brokers.reset()
        store.current().close()
        store.reset()


def send(nodes: str) -> str:
    return read_sensors.send(nodes).message_id


def state(job_id: str) -> str:
    return jobs.get(job_id).state


def test_down_lets_a_running_job_finish(one: FleetUnderTest) -> None:
    one.run("up")
    job_id = send("s1")
    eventually(lambda: state(job_id) == "running")

    one.run("down")

    assert state(job_id) == "done"
    assert jobs.get(job_id).runs == 1


def test_what_does_not_finish_in_the_grace_time_goes_back_and_is_finished_after_the_next_up(
    one: FleetUnderTest,
) -> None:
    one.settings["GRACE"] = "0.5"
    one.run("up")
    job_id = send("s[1-3]")
    eventually(lambda: state(job_id) == "running")

    began = time.monotonic()
    one.run("down")
    assert time.monotonic() - began < 25
    assert state(job_id) == "queued"

    one.settings["FANOUT"] = "3"
    one.run("up")
    eventually(lambda: state(job_id) == "done", within_s=60)
    assert jobs.get(job_id).runs == 2


def test_beat_reads_all_bmcs_but_never_piles_up(one: FleetUnderTest) -> None:
    one.settings |= {"SENSORS_INTERVAL": "0.2", "FANOUT": "3"}
    one.run("up")
    eventually(lambda: [job.state for job in jobs.latest()].count("done") >= 2, within_s=60)

    one.supervisor().stop(["rack"], 60)
    log = one.log_dir / "beat.log"
    skipped = log.read_text().count("chore.skipped")
    eventually(lambda: log.read_text().count("chore.skipped") >= skipped + 10)

    assert [job.state for job in jobs.latest()].count("queued") == 1
    assert brokers.depths()["rack"].ready == 1
