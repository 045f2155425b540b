"""``cm-actors site``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmesh_actors.cli.common import Json
from cloudmesh_actors.cli.lazy import plain_app

if TYPE_CHECKING:
    from cloudmesh_actors.site import Site
    from cloudmesh_actors.sitecheck import Finding, Kind

app = plain_app(help="Check the site file; expand and fold node sets.", no_args_is_help=True)


@app.command()
def check(
    probe: Annotated[bool, typer.Option("--probe", help="Try every BMC, login node and Cobbler, too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what is wrong with the site file, and what may not be meant so."""
    from dataclasses import asdict

    from cloudmesh_actors import settings, sitecheck
    from cloudmesh_actors.cli import output
    from cloudmesh_actors.cli.exits import ExitCode

    inventory, findings = sitecheck.inspect(settings.current().site)
    if not as_json:
        _show(findings)
    probed = tuple(_probe(inventory)) if probe and inventory else ()
    if as_json:
        output.as_json([asdict(finding) for finding in (*findings, *sitecheck.folded(probed))])
    else:
        _show(_shared(probed))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(ExitCode.SITE)
    if any(finding.level == "error" for finding in probed):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def nodes(
    sets: Annotated[list[str], typer.Argument(metavar="NODESET...", help="i[001-004], @india, @rack:r1, i00*, ...")],
    expand: Annotated[bool, typer.Option("--expand", "-e", help="Print every name, on one line.")] = False,
    count: Annotated[bool, typer.Option("--count", "-c", help="Print how many there are.")] = False,
    separator: Annotated[str, typer.Option("--separator", "-S", metavar="TEXT", help="Between expanded names.")] = " ",
    as_json: Json = False,
) -> None:
    """Fold node sets of this site into one, or expand them, as ClusterShell's nodeset does.

    `,` adds, `!` takes away, `&` keeps what both have, `^` what only one has, from left to right.
    """
    from cloudmesh_actors import site
    from cloudmesh_actors.cli import output, streams
    from cloudmesh_actors.nodes import fold

    names = site.current().nodes(",".join(sets))
    if as_json:
        output.as_json({"nodes": names, "folded": fold(names), "count": len(names)})
    elif count:
        streams.write(f"{len(names)}\n")
    elif expand:
        streams.write(separator.replace("\\n", "\n").join(names) + "\n")
    else:
        streams.write(f"{fold(names)}\n")


def _probe(inventory: Site) -> Iterator[Finding]:
    """Every finding as it is made, with a bar on a terminal."""
    from cloudmesh_actors import sitecheck
    from cloudmesh_actors.cli import output

    total = len(inventory.bmcs) + len(inventory.batch_servers) + len(inventory.cobblers)
    findings = sitecheck.probe(inventory)
    stderr = output.console(stderr=True)
    if not stderr.is_terminal:
        yield from findings
        return
    from rich.progress import track

    yield from track(findings, "trying servers", total=total, console=stderr, transient=True)


def _shared(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings that say the same of several servers as one."""
    from cloudmesh_actors import sitecheck
    from cloudmesh_actors.cli.nodeviews import shared_errors

    errors: defaultdict[Kind, list[dict[str, str]]] = defaultdict(list)
    good = []
    for finding in findings:
        if finding.level == "error":
            errors[finding.kind].append({"node": finding.name, "error": finding.text})
        else:
            good.append(finding)
    yield from sitecheck.folded(good)
    for kind, entries in errors.items():
        for names, sentence in shared_errors(entries):
            yield sitecheck.Finding("error", kind, names, sentence)


def _show(findings: Iterable[Finding]) -> None:
    from rich.table import Table

    from cloudmesh_actors.cli import output

    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(width=len("warning"))
    lines.add_column(overflow="fold")
    for finding in findings:
        name = "" if finding.kind in {"site", "settings", "recipe"} else f"{finding.kind} {finding.name}: "
        lines.add_row(output.state(finding.level), output.text(f"{name}{finding.text}"))
    output.show(*([lines] if lines.row_count else []))
