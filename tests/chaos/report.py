"""The table of what was found: for the terminal, and for docs/reliability.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import psutil

from chaos.found import Found
from chaos.scenarios import SCENARIOS
from chaos.servers import version_of

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
#: Where there is nothing to measure.
NONE = "-"

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

COLUMNS = (
    "what is broken", "on", "messages / harm", "lost", "doubled", "left running, set aside", "orphans, stale pids",
    "refused to senders", "outage said, lines a worker", "runs again after, s: median, p95, most",
    "worker back after, s: median, most", "besides", "seed, date, load",
)  # fmt: skip


def row(found: Found) -> list[str]:
    """One line of the table."""
    on = found.broker if found.store == "SQLite" else f"{found.broker}, {found.store}"
    outage = f"{found.said:.2g}" if SCENARIOS[found.scenario].outages or "restart" in found.scenario else NONE
    again = f"plain tasks run twice: {found.twice}" if found.twice else ""
    not_sent = f"failed for want of the store, nothing sent to hardware: {found.not_sent}" if found.not_sent else ""
    helped = f"workers that supervisord gave up and `up` started: {found.helped}" if found.helped else ""
    slow = f"longest `send()` {found.longest_send:.1f} s" if found.longest_send >= 1 else ""
    return [
        SCENARIOS[found.scenario].title, on, found.counts, f"{found.lost}", f"{found.doubled}",
        f"{found.left}, {found.set_aside}", f"{found.orphans}, {found.stale}", f"{found.refused}", outage,
        _spread(found.back, 0.5, 0.95, 1.0), _spread(found.workers_back, 0.5, 1.0),
        "; ".join(filter(None, (found.note, not_sent, again, helped, slow))),
        f"{found.seed}, {time.strftime('%Y-%m-%d')}, {found.load:.0f}",
    ]  # fmt: skip


def table(found: Iterable[Found]) -> str:
    """For the terminal: a block for each scenario."""
    return "\n\n".join(
        "\n".join(f"{name:>42}: {cell}" for name, cell in zip(COLUMNS, row(one), strict=True) if cell) for one in found
    )


def write(found: Iterable[Found], page: Path = PAGE) -> None:
    """Put what was found into the page; other rows of its table stay."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {tuple(cells[:2]): cells for line in old.splitlines() if len(cells := _cells(line)) == len(COLUMNS)}
    rows = {key: cells for key, cells in rows.items() if not set(cells[1]) <= {"-"} and cells[1] != COLUMNS[1]}
    rows |= {(one[0], one[1]): one for one in map(row, found)}
    order = [scenario.title for scenario in SCENARIOS.values()]
    lines = [
        COLUMNS,
        ["---"] * len(COLUMNS),
        *sorted(rows.values(), key=lambda cells: (order.index(cells[0]), cells[1])),
    ]
    new = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    page.write_text(f"{before}{BEGIN}\n{_machine(rows.values())}\n\n{new}\n{END}{after}")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _machine(rows: Iterable[list[str]]) -> str:
    kinds = sorted({cells[1].partition(",")[0] for cells in rows})
    system = re.search(r'PRETTY_NAME="(.+)"', Path("/etc/os-release").read_text())
    packages = ", ".join(f"{name} {version(name)}" for name in ("dramatiq", "supervisor", "SQLAlchemy"))
    return (
        f"Measured on {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB of memory, "
        f"{system[1] if system else platform.platform()}, Python {platform.python_version()}, "
        f"{', '.join(dict.fromkeys(map(version_of, kinds)))}, {packages}. The column *load* tells what else the "
        "machine had to do: its load average at the end."
    )


def _spread(values: list[float], *parts: float) -> str:
    if not values:
        return NONE
    ordered = sorted(values)
    found = [statistics.median(ordered) if part == 0.5 else _quantile(ordered, part) for part in parts]
    return ", ".join(f"{value:.1f}" for value in found)


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]
