"""How long the whole fleet takes to be ready, to be found ready, and to be down: seconds on the clock and of CPU.

Run it on a machine that does nothing else: ``make bench-up``.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

from cloudmesh_actors import settings
from workers.supervisor import Supervisor

ROUNDS = 5


def timed(*arguments: str) -> tuple[float, float]:
    """Seconds on the clock and of CPU that one command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-P", "-m", "workers", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def cpu_of_fleet() -> float:
    """Seconds of CPU that supervisord and everything below it have taken."""
    pid = Supervisor(settings.current().runtime_dir / "supervisor.sock").pid()
    assert pid
    above = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:2]) for process in [above, *above.children(recursive=True)])


def main() -> None:
    """Print the medians."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CLOUDMESH_LOG_DIR=folder, CLOUDMESH_SENSORS_INTERVAL="0")
        for _ in range(ROUNDS):
            up, up_cpu = timed("up")
            fleet_cpu = cpu_of_fleet()
            again, _ = timed("up")
            down, _ = timed("clean")
            rows.append((up, up_cpu + fleet_cpu, again, down))
    up, cpu, again, down = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"up {up:.1f} s ({cpu:.1f} s of CPU on {os.cpu_count()} cores), up again {again:.1f} s, clean {down:.1f} s")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
