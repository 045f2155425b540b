"""``cm-actors workers``."""

from __future__ import annotations

from cloudmesh_actors.cli.common import Json


def command(as_json: Json = False) -> None:
    """Show the workers: those of this fleet, and others that share its store."""
    from dataclasses import asdict

    from cloudmesh_actors.cli import output
    from workers import fleet
    from workers.status import table

    found = fleet.status()
    if as_json:
        output.as_json([asdict(status) for status in found])
    else:
        output.show(table(found))
