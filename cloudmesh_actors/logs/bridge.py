"""What does not log through structlog, in the same form: stdlib logging, warnings, uncaught exceptions."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

#: emit(level, event, fields, at_ns): logs one event; at_ns None is now.
Emit = Callable[[str, object, dict[str, Any], int | None], None]

#: Loggers that say at length what their callers report anyway, and the level from which they are heard.
DAMPED = {
    "pika": logging.CRITICAL,
    "paramiko": logging.WARNING,
    "apscheduler": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "invoke": logging.WARNING,
    "fabric": logging.WARNING,
}

#: The attributes of every `logging.LogRecord`; others came with ``extra=`` and are logged.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Bridge(logging.Handler):
    """Hands the records of stdlib loggers to `emit`."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """One record as one event, under the name of its logger. Never raises."""
        fields: dict[str, Any] = {"logger": record.name}
        fields |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        if record.stack_info:
            fields["stack"] = record.stack_info
        self._emit(level_name(record.levelno), _message(record), fields, int(record.created * 1e9))


def level_name(number: int) -> str:
    """The name of the highest of the five levels that is not above `number`."""
    for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
        if number >= level:
            return logging.getLevelName(level).lower()
    return "debug"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip("\n")
    except Exception as error:  # a wrong log call must not end a task
        return f"{record.msg} {record.args!r} (cannot be formatted: {error})"


def take_over_logging(emit: Emit, level: str) -> None:
    """Make `emit` the only handler of the root logger, from `level` on; capture warnings; damp the noisy."""
    root = logging.getLogger()
    root.handlers[:] = [Bridge(emit)]
    root.setLevel(level.upper())
    for name, floor in DAMPED.items():
        logging.getLogger(name).setLevel(floor)
    logging.captureWarnings(True)


def take_over_exceptions(emit: Emit) -> None:
    """Log what nobody caught: in the main thread, in other threads, and where Python can only ignore it."""

    def uncaught(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
        emit("critical", "uncaught exception", {"exc_info": error}, None)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread else None
        emit("error", "uncaught exception in a thread", {"thread": name, "exc_info": args.exc_value}, None)

    def ignored(args: sys.UnraisableHookArgs) -> None:
        fields = {"exc_info": args.exc_value, "object": repr(args.object), "message": args.err_msg}
        emit("error", "exception ignored", fields, None)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = ignored
