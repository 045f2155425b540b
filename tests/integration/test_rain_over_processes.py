"""Rain over worker processes that are killed, and that contend for a node."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from rain_contenders import contend, rain_fleet, start_worker

from cloudmesh_actors import jobs, settings, site
from cloudmesh_actors.clients.cobbler.simulator import SimulatedCobbler
from cloudmesh_actors.rain import actors

SITE = """
clusters: {india: {nodes: "i[001-004]"}}
cobblers:
  main: {driver: simulator, systems: "i[001-004]"}
"""


def test_of_two_deploys_at_once_one_wins_and_the_other_names_it(tmp_path: Path) -> None:
    trials = contend(tmp_path / "contest", 6)

    assert (trials.one_winner, trials.named, trials.others) == (6, 6, [])


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_neither_lose_a_deploy_nor_send_a_command_twice(tmp_path: Path) -> None:
    dice = random.Random(7)
    with rain_fleet(tmp_path / "fleet", SITE, workers=1) as processes:
        folder = tmp_path / "fleet"
        job = actors.deploy_system.send("i[001-004]", "rocky9-x86_64").message_id
        for number in range(2):
            time.sleep(dice.uniform(0.3, 1.5))
            processes[-1].kill()
            processes[-1].wait()
            processes.append(start_worker(folder, f"again{number}"))
        ended = jobs.wait(job, 120)

        assert [entry["stage"] for entry in ended.result] == ["installed"] * 4
        cobbler = SimulatedCobbler(site.current().cobblers["main"], 30.0, settings.current().state_dir / "simulator")
        commands = cobbler.commands()
        for node in ("i001", "i002", "i003", "i004"):
            assert [command for name, command in commands if name == node] == ["off", "on"]
