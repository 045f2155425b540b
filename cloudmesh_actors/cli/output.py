"""What people and programs get on stdout: tables that fit 80 columns, or JSON and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloudmesh_actors import times
from cloudmesh_actors.cli import streams
from cloudmesh_actors.logs.render import safe

#: How the states of sensors, nodes, jobs and events are coloured.
STYLES: Mapping[str, str] = {
    "ok": "green",
    "done": "green",
    "active": "green",
    "ready": "green",
    "on": "green",
    "running": "cyan",
    "deploy": "cyan",
    "warning": "yellow",
    "aborted": "yellow",
    "critical": "bold red",
    "failed": "bold red",
    "error": "bold red",
    "no reading": "dim",
    "queued": "dim",
    "off": "dim",
}


class QuietConsole(Console):
    """A console that does not mind when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """Let the rest of the output go nowhere; the exit code stays the command's own."""
        streams.nobody_reads(self.file)


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is. NO_COLOR, FORCE_COLOR and COLUMNS are honoured."""
    return QuietConsole(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def show(*parts: Any) -> None:
    """Print tables and texts."""
    printer = console()
    for part in parts:
        printer.print(part)


def as_json(value: Any) -> None:
    """Print a value as JSON; times are ISO 8601 in UTC with a Z."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(value, option=options).decode()
    except TypeError:  # an integer beyond 64 bits, which JSON has and orjson has not
        text = json.dumps(value, indent=2) + "\n"
    streams.write(text)


def table(*columns: str, right: tuple[str, ...] = (), last: str = "") -> Table:
    """A table without lines. `right` columns are aligned to the right; the column `last` takes what is left, cut."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=bool(last), pad_edge=False)
    for name in columns:
        if name == last:
            made.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
        else:
            made.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    return made


def text(words: object, style: str = "") -> Text:
    """Text that cannot steer the terminal."""
    return Text(safe(str(words)), style)


def state(word: str) -> Text:
    """A state in its colour."""
    return text(word, STYLES.get(word, ""))


def iso(moment: datetime | None) -> str | None:
    """``2025-03-01T13:30:00.123456Z``."""
    return None if moment is None else times.iso(moment, "auto")


def local(moment: datetime | None) -> str:
    """A time for people, in their time zone."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """A duration in its largest units: ``0.4 s``, ``45 s``, ``12:05 m``, ``3:07 h``, ``12 d``."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} m"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86_400} d"


def counted(count: int, word: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
