"""What Dramatiq's worker logs at length although the engine says it better."""

from __future__ import annotations

import logging

from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.runs import HandedBack


class Repetitions(logging.Filter):
    """Takes out what is said every few seconds while the broker is away; `Outage` says it once."""

    BEGINNINGS = ("Consumer encountered a connection error", "Restarting consumer", "Failed to post_process_message")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        return not str(record.msg).startswith(self.BEGINNINGS)


class Expected(logging.Filter):
    """Takes out what the engine says itself: tracebacks of errors that are a sentence, and what was skipped."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        if str(record.msg).startswith("Message %s was skipped"):
            return False
        return not (record.exc_info and isinstance(record.exc_info[1], CloudmeshError | HandedBack))


_repetitions, _expected = Repetitions(), Expected()


def quieten(queue: str) -> None:
    """Quieten Dramatiq's loggers of a queue's consumer and of the worker threads."""
    logging.getLogger(f"dramatiq.worker.ConsumerThread({queue})").addFilter(_repetitions)
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_expected)
