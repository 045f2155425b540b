"""The output of a script on its way to the worker's log and to the store: line by line, bounded, harmless."""

from __future__ import annotations

from collections import deque
from typing import Any

from cloudmesh_actors import logs
from cloudmesh_actors.logs import redact
from cloudmesh_actors.logs.render import safe

#: What is kept of an output with its launch, in characters: so much of its beginning and of its end.
HEAD, TAIL = 32_768, 32_768

#: A longer line is broken.
LONGEST_LINE = 4_096

#: So many lines go to the worker's log; of a longer output, the store has the end.
LOGGED_LINES = 2_000

log = logs.get_logger()


class Printout:
    """Takes an output as it comes, in bytes, and keeps its beginning and its end as text."""

    def __init__(self, server: str, *, log: Any = log, head: int = HEAD, tail: int = TAIL) -> None:
        self._server, self._log = server, log
        self._head_left, self._tail_size = head, tail
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._in_tail = 0
        self._rest = b""
        self._lines = 0
        self._gap = False

    def take(self, output: bytes) -> None:
        """More of the output."""
        *lines, self._rest = (self._rest + output).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._rest) > LONGEST_LINE:
            self._line(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def leave_out(self) -> None:
        """Something is missing here."""
        self.close()
        self._gap = True
        self._head_left = 0

    def close(self) -> None:
        """That was all: what came without a newline is a line too."""
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest)

    def text(self) -> str:
        """What is kept, without secrets, and without characters that would steer a terminal."""
        missing = ["[...]\n"] if self._gap else []
        return redact.text("".join([*self._head, *missing, *self._tail]))

    @property
    def last_line(self) -> str:
        """The last line that is not blank."""
        lines = (line.strip() for line in self.text()[-LONGEST_LINE:].splitlines()[::-1])
        return next((line for line in lines if line), "")

    def _line(self, raw: bytes) -> None:
        for at in range(0, max(1, len(raw)), LONGEST_LINE):
            line = safe(raw[at : at + LONGEST_LINE].rstrip(b"\r").decode(errors="replace").replace("\r", " "))
            self._tell(line)
            self._keep(f"{line}\n")

    def _tell(self, line: str) -> None:
        self._lines += 1
        if self._lines <= LOGGED_LINES:
            self._log.info("script.printed", server=self._server, line=line)
        elif self._lines == LOGGED_LINES + 1:
            self._log.info("script.prints_more", server=self._server, advice="cm-actors launcher show has the end")

    def _keep(self, line: str) -> None:
        if len(line) <= self._head_left:
            self._head_left -= len(line)
            self._head.append(line)
            return
        self._head_left = 0
        self._tail.append(line)
        self._in_tail += len(line)
        while self._in_tail > self._tail_size and len(self._tail) > 1:
            self._in_tail -= len(self._tail.popleft())
            self._gap = True
