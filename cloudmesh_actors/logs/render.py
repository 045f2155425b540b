"""An event as a line for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cloudmesh_actors.logs.reader import Entry

LEVELS = ("debug", "info", "warning", "error", "critical")

#: A longer traceback is shown without its middle; ``--json`` has all of it.
TRACEBACK_LINES = 40

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31", "raw": "35"}
_SHORT = {"warning": "warn", "critical": "crit"}
_SHOWN_APART = frozenset(
    {"timestamp", "level", "event", "worker", "queue", "actor", "job_id", "run", "exception", "stack", "stream"}
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PLAIN = re.compile(r"[^\s=\"']+")


def for_people(entry: Entry, *, colour: bool = False, worker_width: int = 0) -> str:
    """An entry of a log as text; raw output is marked as such."""
    if entry.event is not None:
        return line({"worker": entry.worker, **entry.event}, colour=colour, worker_width=worker_width)
    words = safe(_decoded(entry.line))
    level = _coloured("raw  ", _COLOURS["raw"], colour)
    return f"{local_time(entry.time)}  {level}  {safe(entry.worker):<{worker_width}}  | {words}"


def as_json(entry: Entry) -> str:
    """An entry of a log as one JSON object; raw output as ``{"timestamp", "worker", "raw"}``."""
    if entry.event is not None:
        return orjson.dumps(entry.event).decode()
    return orjson.dumps({"timestamp": entry.time, "worker": entry.worker, "raw": _decoded(entry.line)}).decode()


def _decoded(line: bytes) -> str:
    return line.strip(b"\r\n\0").decode(errors="backslashreplace")


def line(event: Mapping[str, Any], *, colour: bool = False, worker_width: int = 0) -> str:
    """``03-01 13:00:00.000 info  rack  rack.read_sensors ab12cd34  event  key=value``, traceback indented below."""
    level = str(event.get("level", "info"))
    parts = [
        local_time(str(event.get("timestamp", ""))),
        _coloured(f"{_SHORT.get(level, level):<5}", _COLOURS.get(level, "0"), colour),
        f"{safe(str(event.get('worker', ''))):<{worker_width}}",
        _coloured(_task(event), "36", colour),
        _words(event),
        _coloured(_pairs(event), "2", colour),
    ]
    more = _text(event.get("event", "")).partition("\n")[2]
    below = "".join(map(_indented, (more, str(event.get("stack", "")), str(event.get("exception", "")))))
    return "  ".join(part for part in parts if part.strip()) + below


def local_time(timestamp: str) -> str:
    """``03-01 13:00:00.000`` in local time; what is no timestamp comes back as it is."""
    second, _dot, fraction = timestamp.removesuffix("Z").partition(".")
    try:
        return f"{_local_second(f'{second}Z')}.{fraction[:3]:0<3}"
    except ValueError:
        return safe(timestamp)


@lru_cache(maxsize=64)
def _local_second(timestamp: str) -> str:
    return f"{datetime.fromisoformat(timestamp).astimezone():%m-%d %H:%M:%S}"


def safe(words: str) -> str:
    """`words` without what would steer a terminal: colours dropped, control characters spelt out."""
    if words.isprintable():
        return words
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), _ANSI.sub("", words))


def _task(event: Mapping[str, Any]) -> str:
    job, run = str(event.get("job_id") or ""), event.get("run")
    again = f" run {run}" if isinstance(run, int) and run > 1 else ""
    return safe(f"{event.get('actor') or ''} {job[:8]}{again}".strip())


def _words(event: Mapping[str, Any]) -> str:
    words = safe(_text(event.get("event", "")).partition("\n")[0])
    return f"| {words}" if "stream" in event else words


def _pairs(event: Mapping[str, Any]) -> str:
    return " ".join(f"{safe(key)}={_value(value)}" for key, value in event.items() if key not in _SHOWN_APART)


def _value(value: Any) -> str:
    words = safe(_text(value))
    return words if _PLAIN.fullmatch(words) or not isinstance(value, str) else f'"{words}"'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=repr).decode()


def _indented(words: str) -> str:
    lines = words.splitlines()
    if len(lines) > TRACEBACK_LINES:
        half = TRACEBACK_LINES // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} lines ..."]
    return "".join(f"\n    | {safe(text)}" for text in lines)


def _coloured(words: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{words}\x1b[0m" if colour and words.strip() else words
