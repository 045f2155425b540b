"""Imports point down only: which module may know which, held against every import, also those inside functions."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import pytest

from cloudmesh_actors.families import FAMILIES

ROOT = Path(__file__).parents[2]

#: The storeys, from the ground up. A part is a module, a package, or one of ours beside `cloudmesh_actors`.
STOREYS: Mapping[str, tuple[str, ...]] = {
    "ground": (
        "errors",
        "families",
        "secret",
        "urls",
        "settings",
        "times",
        "filesystems",
        "nodesyntax",
        "nodes",
        "site",
        "logs",
    ),
    "store": ("prepared", "store", "migrations", "steps", "runs", "roster", "leases"),
    "engine": ("clients", "broker", "actor", "fanout", "stagger", "jobs"),
    "families": FAMILIES,
    "across families": ("preview", "correlate", "probes", "sitecheck"),
    "doors": ("cli", "web", "workers", "fabfile"),
}

#: Parts of one storey that do not know each other.
APART = [set(FAMILIES), {"clients", "broker"}, {"clients", "actor"}, {"clients", "jobs"}, {"clients", "fanout"}]

#: What a part may know of its own storey, for parts that others of it build on.
LOWEST = {
    "errors": set[str](),
    "families": set[str](),
    "secret": {"errors"},
    "urls": {"errors", "secret"},
    "settings": {"errors", "families", "secret", "urls"},
    "filesystems": set[str](),
    "nodesyntax": {"errors"},
    "nodes": {"errors", "nodesyntax"},
    "store": {"migrations", "prepared"},
    "steps": {"store", "prepared"},
    "runs": {"store", "steps"},
    "roster": {"store"},
}

#: The one knot: a broker declares every actor that was imported, and an actor asks for its broker.
KNOT = {("broker", "actor"), ("actor", "broker")}

STOREY_OF = {part: number for number, parts in enumerate(STOREYS.values()) for part in parts}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    files = [*ROOT.glob("cloudmesh_actors/**/*.py"), *ROOT.glob("workers/**/*.py"), ROOT / "fabfile.py"]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


MODULES = modules()


def imports(source: str, known: Container[str] = MODULES) -> Iterator[str]:
    """The modules of ours that a source imports, wherever in it; `from package import name` may import a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                if longer in known or node.module in known:
                    yield longer if longer in known else str(node.module)


def part_of(module: str) -> str:
    """The part that a module belongs to: `clients` for cloudmesh_actors.clients.ipmi.lan."""
    first, *rest = module.split(".")
    return rest[0] if first == "cloudmesh_actors" and rest else first


def wrong(importer: str, imported: str) -> str:
    """Why one part may not import another; empty when it may."""
    # the package itself names the others, and imports them when they are asked for
    if importer == imported or "cloudmesh_actors" in (importer, imported) or (importer, imported) in KNOT:
        return ""
    if STOREY_OF[imported] > STOREY_OF[importer]:
        return f"{importer} must not know {imported}, which is above it"
    if any({importer, imported} <= apart for apart in APART):
        return f"{importer} and {imported} must not know each other"
    same_storey = STOREY_OF[imported] == STOREY_OF[importer]
    if same_storey and imported not in LOWEST.get(importer, {imported}):
        return f"{importer} must not know {imported}, which builds on it"
    return ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    part = part_of(module)
    assert part in STOREY_OF or part == "cloudmesh_actors", f"{part} has no place in STOREYS yet"

    found = [wrong(part, part_of(name)) for name in imports(MODULES[module].read_text())]

    assert not [complaint for complaint in found if complaint]


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("cli", "rack", True),
        ("rack", "cli", False),
        ("rack", "clients", True),
        ("clients", "rack", False),
        ("rack", "pbs", False),
        ("store", "settings", True),
        ("settings", "store", False),
        ("settings", "site", False),
        ("broker", "actor", True),
        ("broker", "clients", False),
        ("steps", "runs", False),
        ("runs", "broker", False),
        ("workers", "rack", True),
    ],
)
def test_the_rule_tells_up_from_down(importer: str, imported: str, allowed: bool) -> None:
    assert (wrong(importer, imported) == "") is allowed


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import known.a
def function():
    from known import b
    if TYPE_CHECKING:
        from known.c import name
import os
"""
    assert list(imports(source, ("known", "known.a", "known.b", "known.c"))) == ["known.a", "known.b", "known.c"]


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="relative"):
        list(imports("from . import broker"))


def test_the_walk_sees_the_whole_project() -> None:
    parts = {part_of(module) for module in MODULES}

    assert {"errors", "store", "broker", "clients", "rack", "cli", "workers", "fabfile"} <= parts
