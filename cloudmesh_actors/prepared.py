"""Statements that run for every message: compiled once, and run by the driver itself.

SQLAlchemy's own share of such a statement is ten times the database's. What it would convert, nothing here needs:
parameters and columns are texts, numbers and None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeEngine

#: Rows that one statement of a `PreparedBatch` takes on SQLite: the largest that fits, until none is left.
SIZES = (32, 4, 1)


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


class PreparedBatch:
    """An UPDATE for many rows at once: `update(given)` makes it for a table that has `columns`.

    `executemany` would go to the database once for each row, and let another thread in each time: to run again may then
    take 5 ms. On SQLite the rows are in the statement, which is compiled for some numbers of them; on PostgreSQL they
    are one parameter of JSON.
    """

    def __init__(self, columns: Mapping[str, TypeEngine[Any]], update: Callable[[Any], sa.Update]) -> None:
        self._columns, self._update = dict(columns), update

    def run(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Run it within the connection's transaction. No two rows may be for the same row of the table."""
        driver, dialect = _driver(connection), connection.dialect
        if dialect.name != "sqlite":
            text, bind = _compiled(self._for_json, dialect, None)
            driver.execute(text, bind({"rows": orjson.dumps(rows).decode()}))
            return
        at = 0
        while at < len(rows):
            size = next(size for size in SIZES if size <= len(rows) - at)
            text, bind = _compiled(self._for_rows[size], dialect, None)
            taken = enumerate(rows[at : at + size])
            driver.execute(text, bind({f"{name}_{n}": value for n, row in taken for name, value in row.items()}))
            at += size

    @cached_property
    def _for_rows(self) -> dict[int, sa.Update]:
        """The statement for each number of rows."""
        each = [
            sa.select(
                *(sa.bindparam(f"{name}_{number}", type_=kind).label(name) for name, kind in self._columns.items())
            )
            for number in range(max(SIZES))
        ]
        return {size: self._update(sa.union_all(*each[:size]).subquery("given")) for size in SIZES}

    @cached_property
    def _for_json(self) -> sa.Update:
        rows = sa.func.json_to_recordset(sa.cast(sa.bindparam("rows"), sa.JSON))
        columns = [sa.column(name, kind) for name, kind in self._columns.items()]
        return self._update(rows.table_valued(*columns, name="given").render_derived(name="given", with_types=True))


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
