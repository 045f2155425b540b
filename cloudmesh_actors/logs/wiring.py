"""Puts encoder, file, streams and hooks together, once a process."""

from __future__ import annotations

import atexit
import faulthandler
import fcntl
import os
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
import structlog

from cloudmesh_actors.filesystems import network_file_system
from cloudmesh_actors.logs import bridge, render
from cloudmesh_actors.logs.encode import Encoder
from cloudmesh_actors.logs.streams import PrintStream
from cloudmesh_actors.logs.writer import LogFile, write_keeping_turn

OUT, ERR = 1, 2


class LineLogger:
    """What structlog wraps: each of its methods takes a finished line."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.notset = write

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise TypeError("a logger of the process is not copied")


def for_worker(worker: str, queue: str | None, *, path: Path, max_bytes: int, backups: int, level: str) -> LogFile:
    """Log JSON to descriptor 1, rotated when that is the file at `path`; take over prints, stdlib and hooks."""
    own = path if is_open_on(OUT, path) else None
    append = write_keeping_turn if own and not network_file_system(own.parent) else os.write
    file = LogFile(OUT, own, max_bytes=max_bytes, backups=backups, descriptors=(OUT, ERR), append=append)
    encoder = Encoder({"worker": worker, "queue": queue} if queue else {"worker": worker})

    def emit(level: str, event: object, fields: dict[str, Any], at_ns: int | None = None) -> None:
        file.write(encoder.line(level, event, fields, at_ns=at_ns))

    file.report = lambda event, fields: emit("error", event, fields)
    _configure_structlog(encoder, file.write, level, settled=True)
    bridge.take_over_logging(emit, level)
    bridge.take_over_exceptions(emit)
    streams = _take_over_prints(emit)
    os.register_at_fork(after_in_child=lambda: [part.forked() for part in (file, *streams)])
    faulthandler.enable(ERR)
    return file


def for_people(level: str) -> None:
    """Log sentences to stderr from `level` on, stdlib loggers too."""
    emit = _quiet(level)
    bridge.take_over_logging(emit, level)


def logger() -> Any:
    """The logger of structlog; for people and quiet, unless this process has configured structlog."""
    if not structlog.is_configured():
        _quiet("warning")
    return structlog.get_logger()


def settled() -> bool:
    """Whether loggers may be kept, because the process is a worker whose logging stays as it is."""
    return bool(structlog.get_config()["cache_logger_on_first_use"])


def is_open_on(fd: int, path: Path) -> bool:
    """Whether the descriptor appends to the regular file at `path`."""
    try:
        appends = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
        return appends and path.is_file() and os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _quiet(level: str) -> bridge.Emit:
    encoder = Encoder({})

    def show(line: bytes) -> None:
        if sys.stderr is not None:
            sys.stderr.write(render.line(orjson.loads(line), colour=sys.stderr.isatty()) + "\n")

    def emit(level: str, event: object, fields: dict[str, Any], at_ns: int | None) -> None:
        show(encoder.line(level, event, fields, at_ns=at_ns))

    _configure_structlog(encoder, show, level, settled=False)
    return emit


def _configure_structlog(encoder: Encoder, write: Callable[[bytes], None], level: str, *, settled: bool) -> None:
    def to_line(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> bytes:
        return encoder.line(method, fields.pop("event", ""), cast("dict[str, Any]", fields))

    lines = LineLogger(write)
    structlog.configure(
        processors=[to_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_args: lines,
        cache_logger_on_first_use=settled,
    )


def _take_over_prints(emit: bridge.Emit) -> tuple[PrintStream, PrintStream]:
    """Prints to stdout are "info", to stderr "warning"; both are logged at any level."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    out = PrintStream("stdout", OUT, lambda text, more: emit("info", text, {"stream": "stdout", **more}, None))
    err = PrintStream("stderr", ERR, lambda text, more: emit("warning", text, {"stream": "stderr", **more}, None))
    sys.stdout, sys.stderr = out, err
    atexit.register(out.finish_all)
    atexit.register(err.finish_all)
    return out, err
