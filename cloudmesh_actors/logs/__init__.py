"""Logs: JSON lines in a worker, sentences on stderr elsewhere; no secrets in either.

::

    configure("rack", "rack")            # in the worker NAME; descriptors 1 and 2 are NAME.log already
    log = logs.get_logger()              # or structlog.get_logger()
    structlog.contextvars.bind_contextvars(job_id=..., actor=...)
    log.info("readings stored", nodes=64)
    logs.flush()                         # at the end of a task: a printed line without newline ends here

Importing this changes nothing for the process. A program that calls `configure` without a worker gets warnings
on stderr, for people.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from cloudmesh_actors.logs.writer import LogFile, Troubles

__all__ = ["configure", "flush", "get_logger", "troubles"]

_file: LogFile | None = None


def configure(worker: str | None = None, queue: str | None = None, *, level: str | None = None) -> None:
    """Set up logging for this process: in a worker JSON lines to descriptor 1, else for people on stderr.

    In a worker descriptors 1 and 2 should be LOG_DIR/NAME.log, opened for appending; then it is rotated as the
    settings say. `level` overrides the settings' (in a worker) or "warning" (elsewhere).
    Raises SettingsError in a worker whose settings are wrong.
    """
    global _file  # noqa: PLW0603 - one log a process
    from cloudmesh_actors.logs import wiring

    if worker is None:
        wiring.for_people((level or "warning").lower())
        return
    from cloudmesh_actors import settings

    current = settings.current()
    _file = wiring.for_worker(
        worker,
        queue,
        path=current.log_dir / f"{worker.partition('@')[0]}.log",
        max_bytes=current.log_max_bytes,
        backups=current.log_backups,
        level=(level or current.log_level).lower(),
    )


def flush() -> None:
    """Log what this thread has printed without a newline. The job engine calls it at the end of each task."""
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "finish", stream.flush)()


def troubles() -> Troubles:
    """Lines that could not be written and rotations that failed in this process."""
    from cloudmesh_actors.logs.writer import Troubles

    return _file.troubles if _file else Troubles()


def get_logger() -> FilteringBoundLogger:
    """The logger of structlog, imported when it is first used; a process that configures nothing sees warnings only."""
    logger: Any = _LazyLogger()
    return logger  # type: ignore[no-any-return]


class _LazyLogger:
    def __getattr__(self, name: str) -> Any:
        from cloudmesh_actors.logs import wiring

        method = getattr(wiring.logger(), name)
        if wiring.settled():
            setattr(self, name, method)
        return method
