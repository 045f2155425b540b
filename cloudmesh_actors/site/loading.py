"""From the site file to a `Site`: read, checked as a whole, and kept until the file changes."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType as Frozen

from cloudmesh_actors import settings
from cloudmesh_actors.errors import SiteError
from cloudmesh_actors.site import document, sections
from cloudmesh_actors.site.crosscheck import cross_check
from cloudmesh_actors.site.fields import Fields
from cloudmesh_actors.site.model import Site, Source, identify
from cloudmesh_actors.site.report import Report

_BUILT_IN = "futuregrid.yaml"

_lock = threading.Lock()
_loaded: dict[Path, Site] = {}


def current() -> Site:
    """The site of the settings, read again when its file has changed; without one the built-in simulated site.

    Raises SettingsError, SiteError.
    """
    path = settings.current().site
    if path is None:
        return built_in()
    with _lock:
        site = _loaded.get(path)
        if site is None or not all(source.is_unchanged() for source in site.sources):
            _loaded.pop(path, None)
            site = _loaded[path] = load(path)
        return site


def reset() -> None:
    """Forget what `current` has read (tests)."""
    with _lock:
        _loaded.clear()
    built_in.cache_clear()


@cache
def built_in() -> Site:
    """FutureGrid, simulated: india, delta, echo and bravo."""
    resource = files("cloudmesh_actors.site").joinpath(_BUILT_IN)
    return _sound(*_read(resource.read_bytes(), Path(_BUILT_IN)))


def load(path: Path) -> Site:
    """The site in a file. Raises SiteError for the first mistake in it, which says how many more there are."""
    source = _source(path)
    site, report = _read(_content(path), path)
    sources = (source, *map(_source, sorted(report.secret_files)))
    return _sound(site, report, path, sources)


def check(path: Path) -> tuple[SiteError, ...]:
    """Every mistake in a site file, in the order of its lines."""
    try:
        return _in_order(_read(_content(path), path)[1].errors)
    except SiteError as error:
        return (error,)


def _source(path: Path) -> Source:
    try:
        return Source(path, identify(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SiteError("is not a file", file=path)
        with path.open("rb") as file:
            return file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SiteError:
    reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    return SiteError(reason, file=path)


def _read(content: bytes, file: Path) -> tuple[Site, Report]:
    report = Report(file)
    root = Fields(document.parse(content, file, report.errors), "", 1, report, sections.KEYS[""])
    servers = {server.name: server for server in sections.read_batch_servers(root.table("batch_servers"))}
    clusters = {cluster.name: cluster for cluster in sections.read_clusters(root.table("clusters"), servers)}
    site = Site(
        clusters=Frozen(clusters),
        racks=Frozen({rack.name: rack for rack in sections.read_racks(root.table("racks"), clusters)}),
        bmcs=Frozen({bmc.node: bmc for bmc in sections.read_bmcs(root.table("bmcs"))}),
        batch_servers=Frozen(servers),
        cobblers=Frozen({cobbler.name: cobbler for cobbler in sections.read_cobblers(root.table("cobblers"))}),
        hosts=Frozen({host.node: host for host in sections.read_hosts(root.table("hosts"))}),
        provision=Frozen(dict(sections.read_provision(root.table("provision")))),
        images=Frozen({image.name: image for image in sections.read_images(root.table("images"))}),
        recipes=root.directory("recipes"),
    )
    if not report.errors:
        cross_check(site, root)
    return site, report


def _sound(site: Site, report: Report, path: Path | None = None, sources: tuple[Source, ...] = ()) -> Site:
    if not report.errors:
        return replace(site, source=path, sources=sources)
    first, *others = _in_order(report.errors)
    if not others:
        raise first
    more = f"{first.reason} (and {len(others)} more; `cm-actors site check` shows all)"
    raise SiteError(more, file=first.file, line=first.line, key=first.key)


def _in_order(errors: Iterable[SiteError]) -> tuple[SiteError, ...]:
    return tuple(sorted(errors, key=lambda error: error.line or 0))
