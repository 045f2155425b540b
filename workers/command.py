"""The command line of the fleet: ``python -m workers COMMAND``. The Makefile and the fabfile call it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from cloudmesh_actors import settings
from cloudmesh_actors.errors import BrokerUnavailable, CloudmeshError, SettingsError, SiteError, StoreError
from workers import configuration, fleet
from workers.fleet import UpReport

#: What each command does, for its help.
COMMANDS = {
    "up": "start what is down, and wait until every worker is ready",
    "down": "stop everything; running tasks may finish within the grace time",
    "restart": "stop everything and start it afresh",
    "status": "show every worker",
    "clean": "stop everything, and delete this fleet's logs and pid files",
    "run": "run in the foreground, for systemd",
    "web-up": "start the web console, and the fleet if it is down",
    "web-down": "stop the web console alone",
}


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit code. Errors are one line on stderr."""
    asked = _parser().parse_args(arguments)
    try:
        _ACTIONS[asked.command](asked)
    except CloudmeshError as error:
        print(error, file=sys.stderr)
        return _exit_code(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        if name == "status":
            command.add_argument("--json", action="store_true", help="print an array of objects")
        if name in {"up", "run"}:
            command.add_argument("--web", action="store_true", help="the web console, too")
    return parser


def _up(asked: argparse.Namespace) -> None:
    _tell_ready(fleet.up(web=asked.web))


def _web_up(_asked: argparse.Namespace) -> None:
    _tell_ready(fleet.up(web=True))


def _restart(_asked: argparse.Namespace) -> None:
    _tell_ready(fleet.restart())


def _tell_ready(report: UpReport) -> None:
    if report.started:
        print(f"{', '.join(report.started)} started; all ready after {report.seconds:.1f} s")
    else:
        print(f"{', '.join(report.ready)} were ready already")
    if configuration.WEB in report.ready:
        print(f"the console is at {configuration.web_address(settings.current())}")


def _down(_asked: argparse.Namespace) -> None:
    print("all workers are down" if fleet.down() else "all workers were down already")


def _clean(_asked: argparse.Namespace) -> None:
    print(f"all workers are down; {fleet.clean()} logs and pid files deleted")


def _web_down(_asked: argparse.Namespace) -> None:
    print("the console is down" if fleet.current().web_down() else "the console was down already")


def _run(asked: argparse.Namespace) -> None:
    fleet.current().run(web=asked.web)


def _status(asked: argparse.Namespace) -> None:
    statuses = fleet.status()
    if asked.json:
        print(json.dumps([asdict(status) for status in statuses], indent=2))
        return
    from rich.console import Console

    from workers.status import table

    console = Console(width=None if sys.stdout.isatty() else 80)
    console.print(table(statuses))


def _exit_code(error: CloudmeshError) -> int:
    if isinstance(error, BrokerUnavailable | StoreError):
        return 3
    if isinstance(error, SiteError):
        return 4
    return 2 if isinstance(error, SettingsError) else 1


_ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": _up,
    "down": _down,
    "restart": _restart,
    "status": _status,
    "clean": _clean,
    "run": _run,
    "web-up": _web_up,
    "web-down": _web_down,
}
