"""Results from the store, so that `get_result()`, groups and pipelines work on every broker."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa
from dramatiq.results import ResultBackend
from dramatiq.results.backend import Missing
from dramatiq.results.result import wrap_exception, wrap_result

from cloudmesh_actors import store
from cloudmesh_actors.errors import JobAborted, JobFailed
from cloudmesh_actors.steps import ENDED, State, steps


class StoreBackend(ResultBackend):
    """Reads what the recorder wrote; it has nothing to store itself."""

    def build_message_key(self, message: Any) -> str:
        """The step's id."""
        return str(message.message_id)

    def _get(self, message_key: str) -> Any:
        query = sa.select(steps.c.state, steps.c.result, steps.c.error, steps.c.error_type)
        with store.current().read() as connection:
            row = connection.execute(query.where(steps.c.id == message_key)).one_or_none()
        if row is None or row.state not in ENDED:
            return Missing
        if row.state == State.DONE:
            return wrap_result(orjson.loads(row.result))
        return wrap_exception(_exception(row))

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        """Nothing: the outcome is committed by the recorder, before the message is acknowledged."""


def _exception(row: Any) -> Exception:
    base = JobAborted if row.state == State.ABORTED else JobFailed
    named: type[Exception] = type(row.error_type or base.__name__, (base,), {})
    return named((row.error or "").removeprefix(f"{row.error_type}: "))  # `ResultFailure` shows type and text
