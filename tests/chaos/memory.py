"""Many jobs through one fleet: whether the memory and the descriptors of its processes grow with them."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from chaos.world import World, say

#: Messages of one `send_many`, and how many may wait in the queue.
AT_ONCE, WAITING = 500, 3_000

#: Time between two looks at the processes, in seconds.
EVERY_S = 2.0

#: The share of the jobs after which growth counts: until then caches and pools fill.
WARM = 0.25


@dataclass(slots=True)
class Process:
    """What was seen of one process: jobs done so far, resident bytes, open descriptors."""

    name: str
    process: psutil.Process
    samples: list[tuple[int, int, int]] = field(default_factory=list)

    def look(self, jobs: int) -> None:
        with suppress(psutil.NoSuchProcess):
            self.samples.append((jobs, self.process.memory_info().rss, self.process.num_fds()))

    def megabytes_per_10_000(self, jobs: int) -> float:
        """Growth after the warm-up: the slope of a straight line through the samples."""
        late = [(done, rss) for done, rss, _ in self.samples if done >= WARM * jobs]
        slope = statistics.linear_regression(*zip(*late, strict=True)).slope
        return slope * 10_000 / 1e6

    def more_descriptors(self, jobs: int) -> int:
        """Descriptors at the end, less those after the warm-up (medians of five looks)."""
        late = [fds for done, _, fds in self.samples if done >= WARM * jobs]
        return round(statistics.median(late[-5:]) - statistics.median(late[:5]))


def watch(it: World, jobs: int) -> list[Process]:
    """Send so many jobs that do nothing, and look at all processes meanwhile."""
    from chaos.actors import chaos_nothing

    seen = [Process(_name(process), process) for process in [*it.processes(), psutil.Process()]]
    sent, looked_at = 0, 0.0
    while (done := sent - _waiting(it)) < jobs:
        if sent < jobs and sent - done < WAITING:
            chaos_nothing.send_many([()] * min(AT_ONCE, jobs - sent))
            sent += min(AT_ONCE, jobs - sent)
        else:
            time.sleep(0.05)
        if time.monotonic() - looked_at >= EVERY_S:
            looked_at = time.monotonic()
            for process in seen:
                process.look(done)
            if len(seen[0].samples) % 10 == 0:
                say(f"{done} of {jobs} jobs done")
    return seen


def _waiting(it: World) -> int:
    ready, delayed, running, _ = it.depth()
    return ready + delayed + (running or 0)


def _name(process: psutil.Process) -> str:
    if process.pid == psutil.Process().pid:
        return "the sender"
    words = process.cmdline()
    return "supervisord" if any("supervisord" in word for word in words) else words[-1]
