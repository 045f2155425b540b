"""1,000 simulated servers launched at zero delay: from before `send()` until all have ended, on a fleet with l1 and l2.

python benchmarks/bench_launch.py [--servers 1000] [--rounds 3]

Also how the work was shared, how long the first state took to show, and what a page and the statistics cost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import psutil
from fleets import FleetUnderTest, fleet

from cloudmesh_actors import jobs, launcher
from cloudmesh_actors.launcher import control, records
from cloudmesh_actors.launcher.model import LaunchState

SITE = """
clusters:
  big: {{nodes: "n[0001-{servers:04}]"}}
hosts:
  "n[0001-{servers:04}]": {{driver: simulator}}
recipes: recipes
"""

RECIPE = """
label: Nothing much
parameters:
  cores: {type: integer, default: 8, min: 1, max: 512}
script:
  - [echo, "cores={cores} on {server}"]
  - [install, something]
"""


def launch_all(servers: int) -> tuple[float, float, Counter[str | None]]:
    """Seconds until the first state shows, seconds until all have ended, and how many each worker did."""
    began = time.perf_counter()
    job_id = launcher.launch.send("nothing", "@big", {"cores": 4}).message_id
    first = 0.0
    while not jobs.get(job_id).ended:
        if not first and records.counts(job_id):
            first = time.perf_counter() - began
        time.sleep(0.05)
    took = time.perf_counter() - began
    done = control.of_job(job_id)
    if Counter(launch.state for launch in done) != {LaunchState.ACTIVE: servers}:
        raise SystemExit(f"not all are active: {Counter(launch.state for launch in done)}")
    return first, took, Counter(launch.worker for launch in done)


def milliseconds(question: Callable[[], object]) -> float:
    """The median of what a question to the store takes."""
    times = []
    for _ in range(9):
        began = time.perf_counter()
        question()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def processor_seconds(it: FleetUnderTest) -> float:
    """What the workers have taken of the processor so far."""
    times = [psutil.Process(it.pid(name)).cpu_times() for name in ("l1", "l2")]
    return sum(time.user + time.system for time in times)


def measure(it: FleetUnderTest, servers: int, rounds: int) -> None:
    """Print a line for each round."""
    it.up()
    with it.here():
        launch_all(servers)  # the workers have seen everything once
        for _ in range(rounds):
            before = processor_seconds(it)
            first, took, share = launch_all(servers)
            used = processor_seconds(it) - before
            shared = ", ".join(f"{worker} {count}" for worker, count in sorted(share.items(), key=str))
            print(f"{servers} servers: first state after {first:.2f} s, all ended after {took:.1f} s; {shared}; "
                  f"{used:.1f} s of processor in the workers")  # fmt: skip
        page, stats = milliseconds(records.launches), milliseconds(records.stats)
        print(f"a page of 50 launches: {page:.1f} ms; statistics of {servers * (rounds + 1)} launches: {stats:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-launch-") as name:
        folder = Path(name)
        (folder / "recipes").mkdir()
        (folder / "recipes" / "nothing.yaml").write_text(RECIPE)
        (folder / "site.yaml").write_text(SITE.format(servers=options.servers))
        with fleet(folder / "logs", WORKERS="launcher=2", SITE=folder / "site.yaml", LAUNCH_DELAY=0) as it:
            measure(it, options.servers, options.rounds)


if __name__ == "__main__":
    main()
