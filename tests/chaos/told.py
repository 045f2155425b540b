"""What the tasks told, read: which works had their effect, how often, and how soon after a kill they went on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an actor: see `chaos.actors`."""

    kind: str
    work: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Hit:
    """What was done to a process of the fleet, when (seconds since the epoch)."""

    name: str
    pid: int
    at: float
    how: str


@dataclass(slots=True)
class Told:
    """All lines, by work. A work's kind is the part of its name before the dash."""

    by_work: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    commands: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, folder: Path) -> Told:
        """The file of lines, and the machines."""
        told = cls()
        path = folder / "told"
        for text in path.read_text().splitlines() if path.exists() else []:
            kind, work, pid, at = text.split()
            told.by_work[work].append(Line(kind, work, int(pid), float(at)))
        for machine in (folder / "machines").iterdir():
            told.commands[machine.name] = len(machine.read_text().splitlines())
        return told

    def effects(self, work: str) -> int:
        """How often a work had its effect; of those that give commands the machine knows."""
        if is_once(work):
            return self.commands[work]
        return sum(line.kind == "e" for line in self.by_work.get(work, ()))

    def lost(self, works: Iterable[str]) -> list[str]:
        """Those that had none."""
        return [work for work in works if self.effects(work) == 0]

    def again(self, works: Iterable[str], *, once: bool) -> int:
        """How many effects too many, of works that may (or may not) have them once only."""
        return sum(max(0, self.effects(work) - 1) for work in works if is_once(work) == once)

    def forbidden(self) -> int:
        """How often two were at one node."""
        return sum(line.kind == "!" for lines in self.by_work.values() for line in lines)

    def held(self, hit: Hit) -> list[str]:
        """The works that ran in a process when it was hit."""
        return [work for work, lines in self.by_work.items() if _ran(lines, hit)]

    def recoveries(self, hits: Iterable[Hit]) -> list[float]:
        """Seconds from each kill until each work that ran there runs again."""
        running: dict[int, list[list[Line]]] = defaultdict(list)
        for lines in self.by_work.values():
            for pid in {line.pid for line in lines}:
                running[pid].append(lines)
        return [
            after
            for hit in hits
            for lines in running[hit.pid]
            if _ran(lines, hit) and (after := _next(lines, hit)) is not None
        ]


def is_once(work: str) -> bool:
    """Whether the work's actor records its effect."""
    return work.startswith(("switch-", "leased-"))


def _ran(lines: list[Line], hit: Hit) -> bool:
    mine = [line.kind for line in lines if line.pid == hit.pid and line.at <= hit.at and line.kind in "bz"]
    return mine.count("b") > mine.count("z")


def _next(lines: list[Line], hit: Hit) -> float | None:
    runs = [line.at for line in lines if line.pid != hit.pid and line.at > hit.at and line.kind == "b"]
    return min(runs) - hit.at if runs else None
