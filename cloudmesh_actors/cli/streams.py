"""Standard output and standard error: made for any terminal, and quiet when nobody reads any more."""

from __future__ import annotations

import os
import sys
from typing import IO, TextIO


def prepare() -> None:
    """Let characters that the terminal's encoding lacks be spelt out instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def write(text: str, stream: TextIO | None = None) -> None:
    """Write text to stdout (or `stream`) at once. When its reader has seen enough (``| head``), nothing happens."""
    target = stream or sys.stdout
    try:
        target.write(text)
        target.flush()
    except BrokenPipeError:
        nobody_reads(target)


def say(sentence: str) -> None:
    """Tell people something, on stderr; a sentence for them ends with a full stop."""
    from cloudmesh_actors.logs.render import safe

    lines = (safe(line) for line in sentence.splitlines())
    text = "\n".join(lines)
    write(f"{text}\n" if text.endswith((".", "?", "!", ":")) else f"{text}.\n", sys.stderr)


def finish() -> None:
    """Write what is held back; without this the interpreter would complain of a broken pipe at its end."""
    write("")
    write("", sys.stderr)


def nobody_reads(stream: IO[str]) -> None:
    """Let what is still to be written to `stream` go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
