"""What ``cm-actors site check`` tells: whether the site file is right, and with ``--probe`` whether its servers answer.

`inspect` looks at files only; `probe` talks to every BMC, login node and Cobbler, each by a callable that can be
replaced.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cloudmesh_actors import probes, settings, site
from cloudmesh_actors.errors import CloudmeshError, SiteError
from cloudmesh_actors.launcher import recipes
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.site import BatchServer, Bmc, Cobbler, Host, Site

Level = Literal["ok", "warning", "error"]
Kind = Literal["settings", "site", "recipe", "bmc", "batch server", "cobbler", "host"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the site: how serious, about what (`kind` and `name`), and the sentence."""

    level: Level
    kind: Kind
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Probes:
    """How each kind of server is tried. A probe returns what it saw, and raises a CloudmeshError if it is not well."""

    bmc: Callable[[Bmc], str] = probes.bmc
    batch_server: Callable[[BatchServer], str] = probes.batch_server
    cobbler: Callable[[Cobbler], str] = probes.cobbler


def inspect(path: Path | None) -> tuple[Site | None, tuple[Finding, ...]]:
    """The site of a file (None: the built-in one) if it can be used, and all that is to be said about it.

    Mistakes of the file, and of recipes, are findings of level "error"; what is allowed but hardly meant, of level
    "warning".
    """
    environment = [Finding("warning", "settings", "", text) for text in settings.misspelt()]
    mistakes = site.check(path) if path else ()
    if mistakes:
        return None, (*environment, *(_mistake(error) for error in mistakes))
    inventory = site.load(path) if path else site.built_in()
    return inventory, (*environment, _summary(inventory), *_doubts(inventory), *_recipe_mistakes(inventory))


def probe(inventory: Site, how: Probes | None = None, width: int = 64) -> Iterator[Finding]:
    """Try every BMC, login node and Cobbler, `width` at once; the findings come as they are made."""
    with ThreadPoolExecutor(width, thread_name_prefix="probe") as pool:
        running: dict[Future[str], tuple[Kind, str]] = {
            pool.submit(call): subject for subject, call in _calls(inventory, how or Probes())
        }
        try:
            for future in as_completed(running):
                kind, name = running[future]
                yield _outcome(kind, name, future)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def folded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with equal ones made one, its name a node set: ``i[001-064]``."""
    alike: dict[tuple[Level, Kind, str], list[str]] = defaultdict(list)
    for finding in findings:
        alike[finding.level, finding.kind, finding.text].append(finding.name)
    return tuple(Finding(level, kind, fold(names), text) for (level, kind, text), names in alike.items())


def _mistake(error: SiteError) -> Finding:
    return Finding("error", "site", error.key, str(error))


def _summary(inventory: Site) -> Finding:
    parts = (
        (len(inventory.all_nodes), "node"),
        (len(inventory.clusters), "cluster"),
        (len(inventory.racks), "rack"),
        (len(inventory.bmcs), "BMC"),
        (len(inventory.batch_servers), "batch server"),
        (len(inventory.cobblers), "Cobbler"),
    )
    source = str(inventory.source or "the built-in simulated site")
    return Finding("ok", "site", "", f"{source}: " + ", ".join(_counted(count, what) for count, what in parts))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _doubts(inventory: Site) -> Iterator[Finding]:
    homeless = [node for node, cluster in inventory.cluster_of.items() if cluster is None]
    if homeless:
        yield Finding("warning", "site", fold(homeless), f"{fold(homeless)}: in no cluster")
    without_bmc = [node for node in inventory.all_nodes if node not in inventory.bmcs]
    if without_bmc:
        yield Finding("warning", "site", fold(without_bmc), f"{fold(without_bmc)}: without a BMC")
    unplaced = [node for node in inventory.all_nodes if node not in inventory.place_of]
    if unplaced and inventory.racks:
        yield Finding("warning", "site", fold(unplaced), f"{fold(unplaced)}: in no rack")
    yield from _file_doubts(inventory)


def _file_doubts(inventory: Site) -> Iterator[Finding]:
    """Each key file and known_hosts file is looked at once, however many nodes use it."""
    reached: tuple[BatchServer | Host, ...] = (*inventory.batch_servers.values(), *inventory.hosts.values())
    for file in sorted({server.key_file for server in reached if server.key_file}):
        trouble = _key_file_trouble(file)
        if trouble:
            yield Finding("warning", "site", str(file), f"the key file {file} {trouble}")
    for file in sorted({server.known_hosts for server in reached if server.driver == "ssh"}):
        if not file.is_file():
            yield Finding("warning", "site", str(file), f"the known_hosts file {file} does not exist")


def _recipe_mistakes(inventory: Site) -> Iterator[Finding]:
    """A wrong recipe costs itself only: the site can be used."""
    try:
        mistakes: Iterable[SiteError] = recipes.load_all(inventory).errors
    except SiteError as error:
        mistakes = (error,)
    yield from (Finding("error", "recipe", error.key, str(error)) for error in mistakes)


def _key_file_trouble(file: Path) -> str:
    try:
        status = file.stat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    mode = stat.S_IMODE(status.st_mode)
    return f"is open to others than its owner (mode {mode:04o})" if mode & 0o077 else ""


def _calls(inventory: Site, how: Probes) -> Iterator[tuple[tuple[Kind, str], Callable[[], str]]]:
    for bmc in inventory.bmcs.values():
        yield ("bmc", bmc.node), partial(how.bmc, bmc)
    for server in inventory.batch_servers.values():
        yield ("batch server", server.name), partial(how.batch_server, server)
    for cobbler in inventory.cobblers.values():
        yield ("cobbler", cobbler.name), partial(how.cobbler, cobbler)


def _outcome(kind: Kind, name: str, future: Future[str]) -> Finding:
    try:
        return Finding("ok", kind, name, future.result())
    except CloudmeshError as error:
        return Finding("error", kind, name, str(error))
