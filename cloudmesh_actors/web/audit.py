"""Who did what in the console: every change that was asked for, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from cloudmesh_actors import settings, store
from cloudmesh_actors.errors import CloudmeshError
from cloudmesh_actors.logs import redact
from cloudmesh_actors.steps import storable

if TYPE_CHECKING:
    from fastapi import Request  # not for beat, which prunes

#: Longer descriptions are cut.
LONGEST = 1000

T = TypeVar("T")

table = sa.Table(
    "web_audit",
    store.metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("door", sa.String(16), nullable=False),  # page or api
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index("ix_web_audit_at", "at"),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that was asked for. `who` is an address and how it came in, `outcome` a sentence or a job's id."""

    id: int
    at: datetime
    who: str
    door: str
    action: str
    target: str
    outcome: str


def told(request: Request, action: str, target: str, change: Callable[[], T]) -> T:
    """Do `change`, and write down who asked for it and what came of it; a refusal, too."""
    try:
        result = change()
    except CloudmeshError as error:
        record(request, action, target, f"refused: {error}")
        raise
    record(request, action, target, "done" if result is None else str(result))
    return result


def record(request: Request, action: str, target: str, outcome: str) -> None:
    """Write down one change."""
    row = {"at": time.time(), "who": who(request), "door": "api" if request.url.path.startswith("/api/") else "page",
           "action": action, "target": _short(target), "outcome": _short(outcome)}  # fmt: skip
    with store.current().write() as connection:
        connection.execute(sa.insert(table), row)


def who(request: Request) -> str:
    """An address, and whether it showed the token."""
    address = request.client.host if request.client else "?"
    return f"{address} with token" if request.state.rules.token is not None else address


def latest(limit: int = 50, *, before: int | None = None) -> list[Entry]:
    """The latest changes, newest first; those older than the entry `before`."""
    query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.id < before)
    with store.current().read() as connection:
        return [
            Entry(**{**row._mapping, "at": datetime.fromtimestamp(row.at, UTC)}) for row in connection.execute(query)
        ]


def prune(now: float | None = None) -> int:
    """Forget what is older than jobs are kept. Returns how many entries."""
    oldest = (time.time() if now is None else now) - settings.current().job_keep_days * 86_400
    with store.current().write() as connection:
        return connection.execute(sa.delete(table).where(table.c.at < oldest)).rowcount


def _short(text: str) -> str:
    text = storable(redact.text(text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
