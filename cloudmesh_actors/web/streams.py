"""The stream of a live page (Server-Sent Events), and how the hub learns that the store has changed."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from fastapi import Request
from fastapi.responses import StreamingResponse

from cloudmesh_actors import store
from cloudmesh_actors.prepared import Prepared
from cloudmesh_actors.store import Store
from cloudmesh_actors.web.live import Full, Hub, Picture
from cloudmesh_actors.web.problems import Problem

#: A number that grows with each transaction of another connection (https://www.sqlite.org/pragma.html).
_SQLITE_VERSION = Prepared(sa.text("PRAGMA data_version"))

#: What differs after each transaction that wrote something.
_SERVER_VERSION = Prepared(sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))


class StoreWatch:
    """Tells whether the store has changed since it was last asked. To be asked in one thread."""

    def __init__(self, get_store: Callable[[], Store] = store.current) -> None:
        self._get_store = get_store
        self._seen: object = None

    def changed(self) -> bool:
        """Whether somebody has written since the last call. Raises StoreUnavailable."""
        current = self._get_store()
        row = current.peek(_SQLITE_VERSION if current.is_sqlite else _SERVER_VERSION)
        before, self._seen = self._seen, row[0]
        return bool(before != self._seen)


def stream(request: Request, name: str, draw: Callable[[], Picture], *, restless: bool = False) -> StreamingResponse:
    """The response that keeps a page live.

    Args:
        name: the same for all requests that get the same picture.
        restless: the picture may change although the store does not: it shows a log.

    Raises:
        Problem: there are too many streams already.
    """
    hub: Hub = request.state.hub
    try:
        hub.check_room()
    except Full:
        raise Problem(503, "As many pages are live as may be; this one shows what was so when it was loaded.") from None
    events = hub.listen(name, draw, restless=restless)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
