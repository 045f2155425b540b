"""The broker in memory, for tests and for programs that want no server."""

from __future__ import annotations

from dramatiq.brokers.stub import StubBroker
from dramatiq.common import dq_name


class PatientStubBroker(StubBroker):
    """Dramatiq's StubBroker, with what workers and status tables ask of a broker."""

    def ping(self) -> None:
        """It is always there."""

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (unknown here) and set aside."""
        self.declare_queue(queue)
        return (
            self.queues[queue].qsize(),
            self.queues[dq_name(queue)].qsize(),
            None,
            len(self.dead_letters_by_queue[queue]),
        )
