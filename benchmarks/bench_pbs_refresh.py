"""A whole refresh of a batch server with 100,000 jobs: over SSH into the store, by a worker that has more to do.

``python benchmarks/bench_pbs_refresh.py [--jobs N] [--rounds N] [--dialect xml|text|json]``

A private sshd leads to scripts that play `qstat` and `pbsnodes`: they print files of generated jobs. Each round has a
fleet of its own with one worker, which refreshes twice: into an empty store, and then over what is there. Meanwhile the
same worker is asked, again and again, for another, simulated, batch server. Medians over the rounds are shown; the
memory is the worker's highest, and the longest of all answers is shown too. Wants Debian's openssh-server.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import pbs_printers
import psutil
import sshd
from bench_pbs import QUEUES
from fleets import FleetUnderTest, fleet

from cloudmesh_actors import jobs
from cloudmesh_actors.jobs import State

SITE = """
clusters:
  large: {{nodes: "i[001-999]", queues: {{server: torque1, names: [{queues}]}}}}
  small: {{nodes: "s[1-8]", queues: {{server: torque2, names: [batch]}}}}
batch_servers:
  torque1: {{host: 127.0.0.1, port: {port}, user: {user}, key_file: {key}, known_hosts: {known_hosts}, max_age: 0}}
  torque2: {{driver: simulator, max_age: 0}}
"""

#: What `qstat --version` does where `qstat` prints this dialect.
VERSIONS = {"xml": "echo 'Version: 6.1.3' >&2; exit 1", "json": "echo pbs_version = 23.06.06", "text": "echo qstat"}

#: The goals: seconds, MB, seconds.
REFRESH_S, PEAK_MB, ANSWER_S = 15, 900, 2

#: A pause between two questions to the busy worker, in seconds.
PAUSE_S = 0.25


@dataclass
class Round:
    """Seconds, except `peak_mb`."""

    refreshes: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    asking: list[float] = field(default_factory=list)
    storing: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


def write_listings(folder: Path, dialect: str, count: int) -> int:
    """What the scripts print; returns the bytes of the jobs."""
    path = folder / f"jobs.{dialect}"
    command = [sys.executable, str(Path(__file__).parent / "bench_pbs.py"), "--path", str(path), "--jobs", str(count)]
    subprocess.run(command, check=True)
    queues = [(name, {"queue_type": "Execution", "enabled": "True", "started": "True"}) for name in QUEUES]
    nodes = [(f"i{number:03}", {"state": "free", "np": "8", "ntype": "cluster"}) for number in range(1, 1000)]
    show = getattr(pbs_printers, dialect)
    for_queues = pbs_printers.text if dialect == "xml" else show
    (folder / "queues").write_text(for_queues(queues, "queues"))
    (folder / "nodes").write_text(show(nodes, "nodes"))
    return path.stat().st_size


def write_programs(folder: Path, dialect: str) -> None:
    """`qstat` and `pbsnodes`."""
    (folder / "bin").mkdir()
    choices = f"--version) {VERSIONS[dialect]};; -Q) cat {folder}/queues;; *) cat {folder}/jobs.{dialect};;"
    for name, script in {"qstat": f"case $1 in {choices} esac", "pbsnodes": f"cat {folder}/nodes"}.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def write_site(folder: Path, server: sshd.Sshd) -> Path:
    """A site with the server behind sshd, and one that is simulated."""
    (folder / "known_hosts").write_text(server.known_hosts_line())
    place = {"port": server.port, "user": psutil.Process().username(), "key": server.user_key}
    path = folder / "site.yaml"
    path.write_text(SITE.format(queues=", ".join(QUEUES), known_hosts=folder / "known_hosts", **place))
    return path


def measure(site: Path, folder: Path, count: int) -> Round:
    """One round."""
    round_ = Round()
    with fleet(folder, WORKERS="pbs=1", SITE=site) as it:
        it.up()
        with it.here():
            ask()  # what is imported once does not count
            for _ in range(2):
                before = sum(psutil.Process(it.pid("q1")).cpu_times()[:2])
                round_.refreshes.append(refresh(round_, count))
                round_.processor.append(sum(psutil.Process(it.pid("q1")).cpu_times()[:2]) - before)
        round_.peak_mb = peak_mb(it.pid("q1"))
        read_log(it, round_)
    return round_


def refresh(round_: Round, count: int) -> float:
    """Seconds from sending a refresh to its result; the worker is asked for the other server until then."""
    from cloudmesh_actors.pbs.actors import refresh

    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        job = refresh.send(["torque1"]).message_id
        waiting = pool.submit(lambda: (jobs.wait(job, 300), time.monotonic() - began))
        while not waiting.done():
            round_.answers.append(ask())
            time.sleep(PAUSE_S)
    done, seconds = waiting.result()
    if done.state is not State.DONE or (done.result[0]["ok"], done.result[0]["jobs"]) != (True, count):
        raise SystemExit(f"the refresh failed: {done.error or done.result}")
    return seconds


def ask() -> float:
    """Seconds from asking for the small server to the answer."""
    from cloudmesh_actors.pbs.actors import qinfo

    began = time.monotonic()
    done = jobs.wait(qinfo.send("small").message_id, 60)
    if done.state is not State.DONE or not done.result[0]["ok"]:
        raise SystemExit(f"the question failed: {done.error or done.result}")
    return time.monotonic() - began


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def read_log(it: FleetUnderTest, round_: Round) -> None:
    """What the worker says of its two refreshes."""
    lines = map(json.loads, (it.log_dir / "q1.log").read_text().splitlines())
    told = [line for line in lines if line["event"] == "batch_server.asked" and line["server"] == "torque1"]
    round_.asking = [line["asking_s"] for line in told]
    round_.storing = [line["storing_s"] for line in told]


def show(rounds: list[Round]) -> None:
    """The table."""

    def each(values: Callable[[Round], list[float]]) -> list[float]:
        return [median(values(round_)[number] for round_ in rounds) for number in range(2)]

    names = ("refreshes", "processor", "asking", "storing")
    refreshes, processor, asking, storing = (each(attrgetter(name)) for name in names)
    print(f"{'':<34}{'first':>9}{'again':>9}   goal")
    print(f"{'refresh, from sending to result':<34}{refreshes[0]:>7.1f} s{refreshes[1]:>7.1f} s   {REFRESH_S} s")
    print(f"{'  asking and reading the answers':<34}{asking[0]:>7.1f} s{asking[1]:>7.1f} s")
    print(f"{'  storing':<34}{storing[0]:>7.1f} s{storing[1]:>7.1f} s")
    print(f"{'  seconds of the processor':<34}{processor[0]:>7.1f} s{processor[1]:>7.1f} s")
    peak = median(round_.peak_mb for round_ in rounds)
    print(f"{'peak memory of the worker':<34}{'':>9}{peak:>6.0f} MB   {PEAK_MB} MB")
    answers = [answer for round_ in rounds for answer in round_.answers]
    middle, longest = f"{median(answers):.2f} s", f"{max(answers):.2f} s"
    print(f"{f'{len(answers)} answers meanwhile':<34}{'median':>9}{middle:>9}")
    print(f"{'':<34}{'longest':>9}{longest:>9}   {ANSWER_S} s")
    print(f"{len(rounds)} rounds, {os.cpu_count()} cores, load of the machine {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dialect", choices=list(VERSIONS), default="xml")
    options = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = write_listings(folder, options.dialect, options.jobs)
        write_programs(folder, options.dialect)
        print(f"{options.jobs:,} jobs, {options.dialect}, {size / 1e6:.0f} MB, over SSH into SQLite", flush=True)
        with sshd.running(folder, more=f"SetEnv PATH={folder}/bin:/usr/bin:/bin HOME={folder}\n") as server:
            site = write_site(folder, server)
            show([measure(site, folder / f"logs{number}", options.jobs) for number in range(options.rounds)])


if __name__ == "__main__":
    main()
