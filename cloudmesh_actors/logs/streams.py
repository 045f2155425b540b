"""`sys.stdout` and `sys.stderr` of a worker: what a task prints becomes events that know the task.

A line is logged when its newline comes; `finish`, at the end of a task and of the process, logs what has none.
Each thread has its own unfinished line, so that threads do not mix their prints.
"""

from __future__ import annotations

import codecs
import contextvars
import io
import re
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from cloudmesh_actors.logs import redact

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Characters of one event. A longer line comes in parts: ``"part": 1, 2, ...``, all but the last with ``"more": true``.
MAX_LINE = 64 * 1024

#: A progress bar that keeps returning to the line's start is logged once in this time; its last state always.
PROGRESS_INTERVAL_S = 10.0

#: emit(text, fields) logs a line or a part of one, in the caller's context.
Emit = Callable[[str, dict[str, Any]], None]

_CONTROLS = re.compile("([\r\n])")


class PrintStream(io.TextIOBase):
    """A text stream whose lines become events; `fd` is what C code and children write to."""

    def __init__(
        self, name: str, fd: int, emit: Emit, *, clock: Callable[[], float] = time.monotonic, max_line: int = MAX_LINE
    ) -> None:
        self.name = f"<{name}>"
        self.mode = "w"
        self._fd, self._emit, self._clock, self._max_line = fd, emit, clock, max_line
        self._local = threading.local()
        self._lines: weakref.WeakSet[_Line] = weakref.WeakSet()
        self.buffer = _ByteStream(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True

    def write(self, text: str) -> int:
        """Log the lines that `text` completes; keep the rest for the next write of this thread."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._mine().add(text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """The same for bytes of UTF-8; others appear as ``\\xff``."""
        self._mine().add_bytes(data)

    def finish(self) -> None:
        """Log this thread's unfinished line."""
        self._mine().finish()

    def finish_all(self) -> None:
        """Log every thread's unfinished line, at exit."""
        for line in list(self._lines):
            line.finish()

    def flush(self) -> None:
        """Nothing: whole lines are written already, and half a line is not an event."""

    def close(self) -> None:
        """Only end the line: the log stays open."""
        self.finish()

    def fileno(self) -> int:
        """The descriptor of the log itself, for children and C code."""
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **_options: object) -> None:
        """Nothing: the form of a log line is fixed."""

    def detach(self) -> NoReturn:
        raise io.UnsupportedOperation("the log's stream cannot be detached")

    def _mine(self) -> _Line:
        try:
            line: _Line = self._local.line
        except AttributeError:
            line = self._local.line = _Line(self._emit, self._clock, self._max_line)
            self._lines.add(line)
        return line

    def forked(self) -> None:
        """In a forked child: what is unfinished is the parent's."""
        for line in list(self._lines):
            line.drop()
        self._local = threading.local()
        self._lines = weakref.WeakSet()


class _ByteStream(io.BufferedIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, stream: PrintStream) -> None:
        self._stream = stream
        self.name, self.mode = stream.name, "wb"

    def write(self, data: Buffer) -> int:
        content = bytes(data)
        self._stream.write_bytes(content)
        return len(content)

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.finish()


class _Line:
    """A thread's unfinished line. The events do not depend on how the text was cut into writes."""

    def __init__(self, emit: Emit, clock: Callable[[], float], max_line: int) -> None:
        self._emit_to, self._clock, self._max_line = emit, clock, max_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._context: contextvars.Context | None = None
        self.drop()

    def drop(self) -> None:
        """Begin a new line and say nothing of the old one."""
        self._pieces: list[str] = []
        self._length = self._part = 0
        self._returned = False
        self._progress_at: float | None = None

    def add(self, text: str) -> None:
        if text == "\n":
            self._end()
        elif "\r" not in text and "\n" not in text:
            self._keep(text)
        else:
            self._add_pieces(text)

    def _add_pieces(self, text: str) -> None:
        for piece in _CONTROLS.split(text):
            if piece == "\n":
                self._end()
            elif piece == "\r":
                self._returned = True
            else:
                self._keep(piece)

    def add_bytes(self, data: bytes) -> None:
        self.add(self._decoder.decode(data))

    def finish(self) -> None:
        """Log what there is, with the context in which it was written."""
        self._keep(self._decoder.decode(b"", final=True))
        if self._pieces and self._context is not None:
            self._context.copy().run(self._end)

    def __del__(self) -> None:
        if self._pieces:
            self.finish()

    def _keep(self, text: str) -> None:
        if not text:
            return
        if self._returned:
            self._overwrite()
        self._pieces.append(text)
        self._length += len(text)
        self._context = contextvars.copy_context()
        if self._length > self._max_line:
            self._split(redact.longest())

    def _overwrite(self) -> None:
        """The cursor had gone back to the line's start, and now something is written over it."""
        self._returned = False
        old = self._take()
        now = self._clock()
        if self._progress_at is None:
            self._progress_at = now + PROGRESS_INTERVAL_S
        elif now >= self._progress_at and old:
            self._progress_at = now + PROGRESS_INTERVAL_S
            self._emit(old, {"progress": True})

    def _split(self, lookahead: int) -> None:
        """Log the full parts of a long line, without cutting a secret in two."""
        whole = self._take()
        while len(whole) > self._max_line + lookahead:
            at = redact.safe_cut(whole, self._max_line) or self._max_line
            self._part += 1
            self._emit(whole[:at], {"part": self._part, "more": True})
            whole = whole[at:]
        self._pieces, self._length = [whole], len(whole)

    def _end(self) -> None:
        if self._length > self._max_line:
            self._split(0)
        text, part = self._take(), self._part
        self.drop()
        if text:
            self._emit(text, {"part": part + 1} if part else {})

    def _take(self) -> str:
        text, self._pieces, self._length = "".join(self._pieces), [], 0
        return text

    def _emit(self, text: str, fields: dict[str, Any]) -> None:
        self._emit_to(text, fields)
