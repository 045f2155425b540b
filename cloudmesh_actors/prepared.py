"""Statements that run for every message: compiled once, and run by the driver itself.

SQLAlchemy's own share of such a statement is ten times the database's. What it would convert, nothing here needs:
parameters and columns are texts, numbers and None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect


class Prepared:
    """A statement, for SQLite and PostgreSQL; of an INSERT, `columns` are those that it fills."""

    def __init__(self, statement: sa.Executable, columns: Sequence[str] | None = None) -> None:
        self._statement, self._columns = statement, columns

    def run(self, connection: Connection, **parameters: Any) -> Any:
        """Run it within the connection's transaction; gives the driver's cursor."""
        return self.run_on(_driver(connection), connection.dialect, **parameters)

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each row of parameters."""
        self.run_many_on(_driver(connection), connection.dialect, rows)

    def run_many_on(self, driver_connection: Any, dialect: Dialect, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each row of parameters on a connection of the driver's."""
        text, bind = _compiled(self._statement, dialect, self._columns)
        cursor = driver_connection.cursor()
        cursor.executemany(text, [bind(row) for row in rows])
        cursor.close()

    def run_on(self, driver_connection: Any, dialect: Dialect, **parameters: Any) -> Any:
        """Run it on a connection of the driver's."""
        text, bind = _compiled(self._statement, dialect, self._columns)
        return driver_connection.execute(text, bind(parameters))


def _driver(connection: Connection) -> Any:
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.driver_connection


@lru_cache(maxsize=64)
def _compiled(statement: Any, dialect: Dialect, columns: Sequence[str] | None) -> tuple[str, Any]:
    """The statement's text, and what makes its parameters of ours."""
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    constants = {name: getattr(value, "value", value) for name, value in compiled.params.items()}
    if not compiled.positional:
        return compiled.string, lambda given: {**constants, **given}
    order = compiled.positiontup
    return compiled.string, lambda given: [given.get(name, constants[name]) for name in order]
