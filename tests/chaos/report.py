"""The table of what was found."""

from __future__ import annotations

from chaos.scenarios import Found


def row(found: Found) -> str:
    return str(found)


def table(found: list[Found]) -> str:
    return "\n".join(map(row, found))
