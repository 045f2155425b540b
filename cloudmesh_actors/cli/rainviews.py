"""Results of the family rain as tables, and a line for each stage of a deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cloudmesh_actors import jobs
from cloudmesh_actors.cli import output, streams
from cloudmesh_actors.cli.nodeviews import Entry, alike, error_lines
from cloudmesh_actors.jobs import Job
from cloudmesh_actors.rain.stages import TEXTS, Stage


class StageLines:
    """A line each time that a node comes to another stage, or that there is trouble."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def show(self, job: Job) -> None:
        """Tell what is new."""
        for outcome in jobs.node_outcomes(job.id):
            line = stage_line(outcome.stage, outcome.error)
            if self._told.get(outcome.node) != line:
                self._told[outcome.node] = line
                streams.say(f"{outcome.node}  {line}")

    def tell(self, sentence: str) -> None:
        """Tell a sentence."""
        streams.say(sentence)

    def close(self) -> None:
        """Nothing is left to do."""


def stage_line(stage: str | None, trouble: str | None) -> str:
    """A stage in a line, with why it does not go on."""
    text = TEXTS[Stage(stage)] if stage in set(Stage) else ""
    return f"{stage or '-':<13} {text}" + (f": {trouble}" if trouble else "")


def deploy(entries: Sequence[Entry]) -> list[Any]:
    """How the deploy of every node ended."""
    table = output.table("node", "stage", "profile")
    for nodes, entry in alike([entry for entry in entries if entry["ok"]], "stage", "profile"):
        profile = output.text(entry.get("profile") or "as it was")
        table.add_row(output.text(nodes, "bold"), output.state(entry["stage"]), profile)
    return _with_errors(table, entries)


def power(entries: Sequence[Entry]) -> list[Any]:
    """The power of every node, and how it came so."""
    from cloudmesh_actors.cli import rackviews

    return rackviews.power(entries)


def systems(entries: Sequence[Entry]) -> list[Any]:
    """Systems as their Cobbler has them, or their names."""
    if entries and "server" in entries[0]:
        return _names(entries)
    table = output.table("system", "profile", "netboot", "power", "MAC", "IP", last="IP")
    for entry in entries:
        if entry["ok"]:
            table.add_row(*(output.text(word) for word in _system(entry["system"])))
    return _with_errors(table, entries)


def profiles(entries: Sequence[Entry]) -> list[Any]:
    """The profiles of every Cobbler."""
    return _of_servers(entries, "profiles", "name", "distro", "parent")


def distros(entries: Sequence[Entry]) -> list[Any]:
    """The distributions of every Cobbler."""
    return _of_servers(entries, "distros", "name", "arch", "breed", "os_version")


def synced(entries: Sequence[Entry]) -> list[Any]:
    """Which Cobblers have written their files."""
    good = [output.text(f"{entry['server']}: synced") for entry in entries if entry["ok"]]
    return [*good, *_server_errors(entries)]


#: How the results of actors are shown.
VIEWS: Mapping[str, Callable[[Sequence[Entry]], list[Any]]] = {
    "rain.deploy_system": deploy,
    "rain.power_system": power,
    "rain.add_system": systems,
    "rain.list_systems": systems,
    "rain.list_profiles": profiles,
    "rain.list_distros": distros,
    "rain.sync": synced,
}


def _system(system: Mapping[str, Any]) -> Iterator[str]:
    interfaces = system["interfaces"]
    yield from (system["name"], system["profile"], "on" if system["netboot"] else "off")
    yield " ".join(word for word in (system["power_type"], system["power_address"]) if word) or "-"
    yield ", ".join(each["mac"] for each in interfaces if each["mac"]) or "-"
    yield ", ".join(each["ip"] for each in interfaces if each["ip"]) or "-"


def _names(entries: Sequence[Entry]) -> list[Any]:
    from cloudmesh_actors.nodes import fold

    table = output.table("Cobbler", "systems", "names", right=("systems",), last="names")
    for entry in entries:
        if entry["ok"]:
            names = entry["systems"]
            table.add_row(entry["server"], f"{len(names):,}", output.text(fold(names) if names else "-"))
    return [*([table] if table.row_count else []), *_server_errors(entries)]


def _of_servers(entries: Sequence[Entry], key: str, *columns: str) -> list[Any]:
    table = output.table("Cobbler", *columns, last=columns[-1])
    for entry in entries:
        for number, row in enumerate(entry[key]):
            first = output.text("" if number else entry["server"], "bold")
            table.add_row(first, *(output.text(row[column] or "-") for column in columns))
    return [*([table] if table.row_count else []), *_server_errors(entries)]


def _server_errors(entries: Sequence[Entry]) -> list[Any]:
    return [output.text(entry["error"], "red") for entry in entries if not entry["ok"]]


def _with_errors(table: Any, entries: Sequence[Entry]) -> list[Any]:
    return [*([table] if table.row_count else []), *error_lines(entries)]
