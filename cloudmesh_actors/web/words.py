"""How values are written on pages: times, durations, states. Filters of the templates."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from markupsafe import Markup

from cloudmesh_actors.times import iso

#: A mark before each state, for who does not see its colour.
MARKS = {
    "queued": "○", "running": "◐", "deploy": "◑", "done": "✓", "active": "✓", "failed": "✕", "error": "✕",
    "aborted": "■",
}  # fmt: skip

#: Longer values are cut on pages; the API has all of them.
SHOWN_CHARACTERS = 4_000

#: JSON that is longer is written in several lines.
ONE_LINE = 160

#: Where there is no value.
NOTHING = Markup("\N{EN DASH}")

_STATE = Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>')
_TIME = Markup('<time datetime="{}" title="{}"{}>{}</time>')
_SINCE = Markup('<span class="since" data-since="{}">since {}</span>')


def state(word: str) -> Markup:
    """A state with its mark and colour."""
    return _STATE.format(str(word), MARKS.get(str(word), "·"), str(word))


def moment(when: datetime | None, *, age: bool = False) -> Markup:
    """A time in the local zone of the server; with `age`, scripts make "3 min ago" of it."""
    if when is None:
        return NOTHING
    local = when.astimezone()
    return _TIME.format(
        iso(when), f"{local:%Y-%m-%d %H:%M:%S %Z}", Markup(" data-age") if age else "", f"{local:%m-%d %H:%M:%S}"
    )


def took(started: datetime | None, ended: datetime | None) -> Markup:
    """How long something took; of what goes on, since when: scripts count its seconds."""
    if started is None:
        return NOTHING
    if ended is None:
        return _SINCE.format(iso(started), f"{started.astimezone():%H:%M:%S}")
    return Markup.escape(duration((ended - started).total_seconds()))


def duration(seconds: float | None) -> str:
    """``0.8 s``, ``45 s``, ``12 min 5 s``, ``3 h 7 min``, ``12 d 4 h``."""
    if seconds is None:
        return str(NOTHING)
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for unit, name, small, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // small} {small_name}"
    return f"{whole} s"


def number(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,}"


def value(it: Any) -> str:
    """An argument or a result as JSON, cut if it is long."""
    text = it if isinstance(it, str) else json.dumps(it, ensure_ascii=False)
    if not isinstance(it, str) and len(text) > ONE_LINE:
        text = json.dumps(it, ensure_ascii=False, indent=1)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} … ({len(text):,} characters)"


def counted(count: int, noun: str) -> str:
    """``1 server``, ``12 servers``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


FILTERS = {
    "state": state, "moment": moment, "duration": duration, "number": number, "value": value, "counted": counted,
}  # fmt: skip
