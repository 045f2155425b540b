"""``/healthz``: this process answers. ``/readyz``: so do the store and the broker, and somebody works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cloudmesh_actors import broker, roster, store
from cloudmesh_actors.errors import CloudmeshError

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz() -> JSONResponse:
    """Whether what the pages need answers; 503 when it does not, with the reason."""
    seen = {"store": _said(_store), "broker": _said(_broker), "workers": _said(_workers)}
    ready = seen["store"] == seen["broker"] == "ok"
    return JSONResponse({"status": "ok" if ready else "unavailable", **seen}, 200 if ready else 503)


def _said(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except CloudmeshError as error:
        return str(error)


def _store() -> str:
    with store.current().read() as connection:
        connection.exec_driver_sql("SELECT 1")
    return "ok"


def _broker() -> str:
    broker.depths()
    return "ok"


def _workers() -> dict[str, int]:
    """Workers of each queue that are ready; a queue without any is left out."""
    return dict(Counter(row.queue for row in roster.rows() if row.queue and row.ready_at))
