"""What is wrong with a site file, as far as it has been read; and what may not be named twice in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cloudmesh_actors import nodes
from cloudmesh_actors.errors import NodeSetError, SiteError


class Report:
    """The mistakes found in one file, and the other files that it refers to."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.errors: list[SiteError] = []
        self.secret_files: set[Path] = set()
        self._names: Counter[tuple[str, str]] = Counter()

    def add(self, message: str, line: int | None, key: str) -> None:
        """Note a mistake."""
        self.errors.append(SiteError(message, file=self.file, line=line, key=key))

    def spend(self, purpose: tuple[str, str], count: int) -> None:
        """Count the nodes named for one purpose, before any are made; no node is named twice for the same.

        Raises NodeSetError when they are more than a site may have.
        """
        self._names[purpose] += count
        if self._names[purpose] > nodes.MAX_NODES:
            raise NodeSetError(f"with this set, {purpose[0]} names more than {nodes.MAX_NODES:,} nodes")

    def resolve(self, text: str) -> Path:
        """A path in the file: ``~`` is the user's home, a relative one is beside the file."""
        return Path(os.path.normpath(self.file.absolute().parent / os.path.expanduser(text)))  # noqa: PTH111 - see settings


class Claims:
    """Things that may be had only once, such as a node in a cluster or a unit of a rack."""

    def __init__(self, report: Report, message: str) -> None:
        self._report, self._message = report, message
        self._owners: dict[object, tuple[str, int]] = {}

    def take(self, things: Mapping[str, object], key: str, line: int) -> None:
        """Claim things, each under the name that a mistake will show."""
        taken = {name: self._owners[thing] for name, thing in things.items() if thing in self._owners}
        if taken:
            owner, owner_line = next(iter(taken.values()))
            what = nodes.fold(name for name, before in taken.items() if before == (owner, owner_line))
            self._report.add(self._message.format(what=what, owner=owner, line=owner_line), line, key)
        for thing in things.values():
            self._owners.setdefault(thing, (key, line))
