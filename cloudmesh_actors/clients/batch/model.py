"""What a batch client brings, unread: the output of three commands; and the Protocol of batch clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RawSnapshot:
    """A batch server's jobs, queues and nodes as its commands printed them, one right after the other.

    `dialect` says which commands were used: "torque-xml", "torque-text", "openpbs-json", "openpbs-text", "slurm" or
    "unknown". Times in the outputs are UTC. `taken_at` is when the first command began, in seconds since the epoch.
    Empty `jobs` mean that there are none only when `jobs_empty` is set.
    """

    server: str
    dialect: str
    taken_at: float
    jobs: bytes
    queues: bytes
    nodes: bytes
    jobs_empty: bool


class BatchClient(Protocol):
    """A batch server. Any number of threads may share one."""

    def snapshot(self) -> RawSnapshot:
        """Ask the server for all that it shows.

        Raises:
            Unreachable: the login host, or from there its batch server, does not answer.
            HostKeyError, AuthenticationFailed: the login host or we are not who we should be, or it tells us nothing.
            DeadlineExceeded: a command took longer than it may.
            Unsupported: the login host has no qstat or pbsnodes.
            ProtocolError: a command failed otherwise.
        """

    def close(self) -> None:
        """End the conversation; the next snapshot begins another. May be called twice."""
