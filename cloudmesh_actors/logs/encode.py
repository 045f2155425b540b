"""From an event to its line: one JSON object, without secrets, whatever is in it."""

from __future__ import annotations

import contextvars
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from cloudmesh_actors.logs import redact

#: What is bound to a task comes in this order, behind time, level, event, worker and queue.
LEADING = ("actor", "job_id", "run")

_OWN = frozenset({"timestamp", "level", "event"})
_SPECIAL = _OWN | {"exc_info", "stack_info"}

#: A longer traceback loses its middle.
MAX_TRACEBACK = 200_000

#: How structlog names its context variables.
_PREFIX = "structlog_"

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

#: On an exception whose traceback has been logged.
_LOGGED = "__cloudmesh_logged__"

_key_of: dict[contextvars.ContextVar[Any], str | None] = {}


class Encoder:
    """Makes lines; `fixed` (worker, queue) is on each of them. `clock` gives nanoseconds since 1970."""

    def __init__(self, fixed: Mapping[str, Any], clock: Callable[[], int] = time.time_ns) -> None:
        self._fixed = dict(fixed)
        self._clock = clock

    def line(
        self,
        level: str,
        event: object,
        fields: dict[str, Any],
        *,
        context: dict[str, Any] | None = None,
        at_ns: int | None = None,
    ) -> bytes:
        """One event as a line of JSON with a newline. Never raises: at worst the line says why it is poor.

        `context` is what is bound to the running task, by default this context's. An exception in
        ``fields["exc_info"]`` becomes ``exception``, its traceback.
        """
        stamp = utc(self._clock() if at_ns is None else at_ns)
        body = {"timestamp": stamp, "level": level, "event": event, **self._fixed}
        try:
            _add_context(body, bound() if context is None else context)
            _add_fields(body, fields)
            return render(body)
        except Exception as error:  # a log call must not end a task
            return self._poor(stamp, level, event, error)

    def _poor(self, stamp: str, level: str, event: object, error: Exception) -> bytes:
        words = {"event": shown(event), "log_error": shown(error)}
        return render({"timestamp": stamp, "level": level, **self._fixed, **words})


def _add_context(body: dict[str, Any], context: dict[str, Any]) -> None:
    for key in LEADING:
        if key in context:
            body[key] = context.pop(key)
    if context:
        body |= redact.by_key(context)


def _add_fields(body: dict[str, Any], fields: dict[str, Any]) -> None:
    if not _SPECIAL.isdisjoint(fields):
        fields = _spelt_out(fields)
    body |= redact.by_key(fields)


def _spelt_out(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with tracebacks as text, and those renamed that would take the place of the line's own."""
    fields = {f"{key}_" if key in _OWN else key: value for key, value in fields.items()}
    fields |= described(fields.pop("exc_info", None))
    if fields.pop("stack_info", False):
        fields["stack"] = "".join(traceback.format_stack())
    return fields


def utc(ns: int) -> str:
    """Nanoseconds since 1970 as ``2025-03-01T12:00:00.000001Z``: of equal length, so that text order is time order."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def bound() -> dict[str, Any]:
    """What structlog has bound in this context (`structlog.contextvars.get_contextvars`, faster)."""
    found = {}
    for variable, value in contextvars.copy_context().items():
        try:
            key = _key_of[variable]
        except KeyError:
            name = variable.name
            key = _key_of[variable] = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None
        if key is not None and value is not Ellipsis:
            found[key] = value
    return found


def render(event: dict[str, Any]) -> bytes:
    """The event as a line; secrets struck out by value; what JSON cannot say is said in other words."""
    try:
        line = orjson.dumps(event, _other, _OPTIONS)
    except (TypeError, RecursionError):
        line = orjson.dumps(plain(event), option=_OPTIONS)
    if redact.suspicious(line):
        line = orjson.dumps(redact.by_value(orjson.loads(line)), option=orjson.OPT_APPEND_NEWLINE)
    return line


def described(exc_info: Any) -> dict[str, str]:
    """The traceback of `exc_info` (True, an exception or a triple) as ``exception``.

    One exception's traceback is logged once; where it turns up again, ``error`` names it.
    """
    error = _exception(exc_info)
    if error is None:
        return {}
    if getattr(error, _LOGGED, False):
        return {"error": _cut("".join(traceback.format_exception_only(error)).strip())}
    with suppress(AttributeError, TypeError):  # a class with slots: then it may be logged twice
        setattr(error, _LOGGED, True)
    return {"exception": _cut("".join(traceback.format_exception(error)).rstrip())}


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _cut(words: str) -> str:
    if len(words) <= MAX_TRACEBACK:
        return words
    half = MAX_TRACEBACK // 2
    return f"{words[:half]}\n[... {len(words) - 2 * half} characters ...]\n{words[-half:]}"


def plain(value: Any, depth: int = redact.DEEPEST + 2) -> Any:
    """`value` in what JSON has: lone surrogates and integers of more than 64 bits spelt out, cycles ended."""
    if isinstance(value, str):
        return str(value).encode(errors="backslashreplace").decode()
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        return {shown(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in value]
    return plain(_other(value), depth - 1)


def _other(value: Any) -> Any:
    """What stands for an object that JSON does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((item.name, getattr(value, item.name, None)) for item in dataclasses.fields(value) if item.repr)
        return redact.by_key(dict(pairs))
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace")
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, set | frozenset):
        return list(value)
    return shown(value)


def shown(value: object) -> str:
    """`value` as text that can be encoded, even when its own `repr` fails."""
    try:
        words = value if isinstance(value, str) else repr(value)
    except Exception as error:  # somebody else's __repr__
        words = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return words.encode(errors="backslashreplace").decode()
