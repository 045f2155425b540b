"""Provisionings as tables and lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cloudmesh_actors.cli import output
from cloudmesh_actors.cli.nodeviews import Entry, alike, error_lines

#: How states are coloured.
STYLES = {"SUCCESS": "green", "ERROR": "bold red"}


def status(entries: Sequence[Entry]) -> list[Any]:
    """How far every node is; nodes that are alike are one."""
    table = output.table("node", "state", "since", "image", "driver", "waits for", right=("since",), last="waits for")
    now = datetime.now(UTC)
    shown = [{**entry, "ago": _ago(entry, now)} for entry in entries]
    for nodes, entry in alike(shown, "state", "ago", "image", "driver", "waits_for", "trouble"):
        words = (entry["ago"], entry["image"] or "-", entry["driver"] or "-", _waits(entry))
        table.add_row(output.text(nodes, "bold"), _state(entry["state"]), *(output.text(word) for word in words))
    return [table, *error_lines([entry for entry in entries if not entry["ok"]])]


def line(entry: Entry) -> str:
    """One node in a line: its state, and what it waits for."""
    state = entry["state"] or "-"
    more = f": {entry['error']}" if entry["error"] else (f"  {_waits(entry)}" if entry["waits_for"] else "")
    return f"{entry['node']}  {state}{more}"


def history(entries: Sequence[Entry]) -> list[Any]:
    """When each node came to which state, and by what."""
    table = output.table("node", "time", "state", "event", "job", "reason", last="reason")
    for entry in entries:
        for number, each in enumerate(entry["transitions"]):
            words = (each["event"] or "asked for", str(each["job"])[:8], each["reason"] or "")
            table.add_row(
                output.text("" if number else entry["node"], "bold"),
                output.text(output.local(datetime.fromisoformat(each["time"]))),
                _state(each["after"]),
                *(output.text(word) for word in words),
            )
    return [table] if table.row_count else []


def images(entries: Sequence[Entry]) -> list[Any]:
    """What can be installed, and where it is from."""
    table = output.table("image", "from", "Cobbler profile", last="Cobbler profile")
    for entry in entries:
        if not entry["error"]:
            words = (entry["source"], entry["cobbler_profile"] or "-")
            table.add_row(output.text(entry["image"], "bold"), *(output.text(word) for word in words))
    errors: Iterator[Any] = (output.text(entry["error"], "red") for entry in entries if entry["error"])
    return [*([table] if table.row_count else [output.text("The site has no images.")]), *errors]


def _state(state: str | None) -> Any:
    return output.text(state or "-", STYLES.get(state or "", ""))


def _waits(entry: Entry) -> str:
    waits = f"for {entry['waits_for']}" if entry["waits_for"] else ""
    stopping = "stops; " if entry["aborting"] else ""
    return f"{stopping}{waits} ({entry['trouble']})" if entry["trouble"] else f"{stopping}{waits}"


def _ago(entry: Entry, now: datetime) -> str:
    if entry["since"] is None:
        return "-"
    return output.duration((now - datetime.fromisoformat(entry["since"])).total_seconds())
