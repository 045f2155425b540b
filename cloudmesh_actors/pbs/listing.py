"""What one conversation with a batch server gave: its output, read whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudmesh_actors.errors import ProtocolError
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue
from cloudmesh_actors.pbs.qstat import Damaged, QstatError, Records, parse_jobs, parse_nodes, parse_queues


class Raw(Protocol):
    """What a batch client brings: the output of three commands; `jobs_empty` when there honestly are no jobs."""

    @property
    def dialect(self) -> str: ...
    @property
    def taken_at(self) -> float: ...
    @property
    def jobs(self) -> bytes: ...
    @property
    def queues(self) -> bytes: ...
    @property
    def nodes(self) -> bytes: ...
    @property
    def jobs_empty(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """Jobs, queues and nodes of a batch server at one time. `damaged` has a sentence for each record left out."""

    server: str
    dialect: str
    taken_at: float  # seconds since the epoch
    jobs: Sequence[BatchJob]
    queues: Sequence[BatchQueue]
    nodes: Sequence[BatchNode]
    damaged: tuple[str, ...] = ()

    def counts(self) -> dict[str, dict[str, int]]:
        """Jobs by queue and state's letter; queues without jobs too."""
        found: dict[str, dict[str, int]] = {queue.name: {} for queue in self.queues}
        for (queue, state), count in Counter((job.queue, job.state.value) for job in self.jobs).items():
            found.setdefault(queue, {})[state] = count
        return found


def read(server: str, raw: Raw) -> Listing:
    """Read the output of a server's three commands. Raises ProtocolError when any of it cannot be trusted."""
    try:
        jobs = parse_jobs(raw.jobs, empty_ok=raw.jobs_empty)
        queues, nodes = parse_queues(raw.queues), parse_nodes(raw.nodes)
    except QstatError as error:
        raise ProtocolError(f"{server}: what its batch system printed cannot be used: {error}") from error
    damaged = (*_damages("job", jobs), *_damages("queue", queues), *_damages("node", nodes))
    return Listing(server, raw.dialect, raw.taken_at, jobs, queues, nodes, damaged)


def _damages(kind: str, records: Records[BatchJob] | Records[BatchQueue] | Records[BatchNode]) -> Iterator[str]:
    return (_sentence(kind, damage) for damage in records.damaged)


def _sentence(kind: str, damage: Damaged) -> str:
    return f"{kind} {damage.record or '?'} (line {damage.line}): {damage.reason}"
