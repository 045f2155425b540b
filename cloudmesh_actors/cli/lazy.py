"""Commands that are imported when they are used: the names and one line about each are known without that."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is, and what it does in one line.

    `attribute` of `module` (in this package) is its function, or the `typer.Typer` of a group of commands.
    """

    module: str
    attribute: str
    help: str

    def load(self, name: str) -> Any:
        """The command itself, its module imported."""
        target = getattr(import_module(f"{__package__}.{self.module}"), self.attribute)
        app = target if isinstance(target, typer.Typer) else _only(name, target)
        command: Any = typer.main.get_command(app)
        command.name = name
        return command


def plain_app(**options: Any) -> typer.Typer:
    """A Typer app whose help is plain text, which takes a fraction of Rich's time."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, **options)


def _only(name: str, function: Any) -> typer.Typer:
    app = plain_app()
    app.command(name)(function)
    return app


class LazyCommands(MutableMapping[str, Any]):
    """A group's commands by name; each is loaded when it is first asked for."""

    def __init__(self, table: dict[str, Command]) -> None:
        self._table = table
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._table[name].load(name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table


class LazyGroup(TyperGroup):
    """A group of commands that are imported when they are used. Subclasses have the table."""

    table: dict[str, Command] = {}  # noqa: RUF012 - never changed

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands(self.table)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.table.items()])
