"""A batch server is asked at most once per window, however many want to know, in however many processes.

Whoever finds the state of a server too old claims the server in the store, asks it, and settles: with a snapshot, or
with the error. The others wait for that. A claim runs out when its owner has died; an owner that only was too slow
finds its claim gone when it settles, and what it brought is dropped.

The window is counted from when the asking began, since that is the age of the answer; after a failure from its end.
Who asks while another's question is under way takes that answer, if it will be no older than the window.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import logs
from cloudmesh_actors.errors import CloudmeshError, NodeError, StoreError
from cloudmesh_actors.pbs import snapshots
from cloudmesh_actors.pbs.listing import Listing
from cloudmesh_actors.pbs.tables import servers
from cloudmesh_actors.store import Store

#: A claim whose owner has not been heard of for so long is void, in seconds.
CLAIM_S = 20.0

#: How often those who wait look again, in seconds.
LOOK_EVERY_S = 0.1

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to ask a server. `began` is when it was taken, by the store's clock."""

    token: str
    began: float


class Overtaken(Exception):
    """The claim ran out, and another has asked meanwhile."""


def store_time(connection: Connection) -> float:
    """Seconds since the epoch by one clock for all hosts: a database server's; SQLite's users share theirs."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())


class Window:
    """Keeps what the store has of a batch server no older than `max_age` seconds.

    Args:
        ask: has the conversation. Raises CloudmeshError.
        now: the store's clock.
    """

    def __init__(
        self,
        server: str,
        max_age: float,
        ask: Callable[[], Listing],
        of: Store,
        *,
        claim_s: float = CLAIM_S,
        now: Callable[[Connection], float] = store_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server, self._max_age, self._ask, self._store = server, max_age, ask, of
        self._claim_s, self._now, self._sleep = claim_s, now, sleep

    def refresh(self) -> bool:
        """Ask the server unless that was done within the window; wait while another asks. Whether this call asked.

        What goes wrong in the conversation is recorded for everybody, and not raised.

        Raises:
            StoreError: the store is away.
        """
        wanted_at = self._insert_row()
        while not self._is_fresh(wanted_at):
            claim = self._take_claim(wanted_at)
            if claim is None:
                self._sleep(LOOK_EVERY_S)
                continue
            with suppress(Overtaken):
                self._carry_out(claim)
                return True
        return False

    # -- who asks

    def _insert_row(self) -> float:
        """Make sure that there is a row of this server; returns the time."""
        query = sa.select(servers.c.server).where(servers.c.server == self._server)
        with self._store.read() as connection:
            now, found = self._now(connection), connection.scalar(query)
        if found is None:
            with self._store.write() as connection:
                insert = self._store.insert(servers).values(server=self._server)
                connection.execute(insert.on_conflict_do_nothing())
        return now

    def _is_fresh(self, wanted_at: float) -> bool:
        query = sa.select(servers.c.asked_at).where(servers.c.server == self._server)
        with self._store.read() as connection:
            now, asked_at = self._now(connection), connection.scalar(query)
        # a clock that was set back must not make an old state fresh until it has caught up
        return asked_at is not None and wanted_at - self._max_age < asked_at <= now

    def _take_claim(self, wanted_at: float) -> Claim | None:
        if self._is_claimed():
            return None
        token = uuid4().hex
        with self._store.write() as connection:
            now = self._now(connection)
            mine = servers.update().where(
                servers.c.server == self._server,
                _is_free(now, self._claim_s),
                sa.or_(
                    servers.c.asked_at.is_(None),
                    servers.c.asked_at <= wanted_at - self._max_age,
                    servers.c.asked_at > now,
                ),
            )
            taken = connection.execute(mine.values(claim=token, claimed_until=now + self._claim_s)).rowcount
        return Claim(token, now) if taken else None

    def _is_claimed(self) -> bool:
        with self._store.read() as connection:
            free = _is_free(self._now(connection), self._claim_s)
            query = sa.select(servers.c.server).where(servers.c.server == self._server, free)
            return connection.scalar(query) is None

    # -- asking

    def _carry_out(self, claim: Claim) -> None:
        try:
            with self._kept_alive(claim):
                snapshot, listing = self._fetch()
        except StoreError:
            self._release(claim)
            raise
        except CloudmeshError as error:
            kind = error.kind if isinstance(error, NodeError) else "error"
            log.warning("batch_server.failed", server=self._server, kind=kind, error=str(error))
            self._fail(claim, str(error), kind)
        except Exception as error:
            log.exception("batch_server.failed", server=self._server, kind="bug")
            text = (
                f"{self._server}: a fault in this program ({type(error).__name__}: {error}); the worker's log has it."
            )
            self._fail(claim, text, "bug")
        except BaseException:  # the run is stopped: the next one that wants to know asks anew
            self._release(claim)
            raise
        else:
            self._settle(claim, snapshot, listing)

    def _fetch(self) -> tuple[int, Listing]:
        began = time.monotonic()
        listing = self._ask()
        asked = time.monotonic()
        snapshot = snapshots.add(listing, self._store)
        log.info("batch_server.asked", server=self._server, snapshot=snapshot, jobs=len(listing.jobs),
                 queues=len(listing.queues), nodes=len(listing.nodes), damaged=len(listing.damaged),
                 asking_s=round(asked - began, 3), storing_s=round(time.monotonic() - asked, 3))  # fmt: skip
        for sentence in listing.damaged[: snapshots.DAMAGES_KEPT]:
            log.warning("batch_server.damaged", server=self._server, record=sentence)
        return snapshot, listing

    def _settle(self, claim: Claim, snapshot: int, listing: Listing) -> None:
        """Make the snapshot the server's current one, in one transaction; then drop the older ones."""
        with self._store.write() as connection:
            found = self._end_claim(
                connection, claim, asked_at=claim.began, error=None, error_kind=None, snapshot=snapshot
            )
            if found:
                snapshots.count(connection, listing, self._store)
        if not found:
            snapshots.drop(snapshot, self._store)
            log.warning("batch_server.overtaken", server=self._server, snapshot=snapshot)
            raise Overtaken
        snapshots.drop_before(self._server, snapshot, self._store)

    def _fail(self, claim: Claim, error: str, kind: str) -> None:
        with self._store.write() as connection:
            now = self._now(connection)
            if not self._end_claim(connection, claim, asked_at=now, error=error, error_kind=kind):
                raise Overtaken

    def _release(self, claim: Claim) -> None:
        with suppress(StoreError), self._store.write() as connection:  # else it runs out by itself
            self._end_claim(connection, claim)

    def _end_claim(self, connection: Connection, claim: Claim, **values: Any) -> bool:
        """Whether the claim still was ours."""
        mine = servers.update().where(servers.c.server == self._server, servers.c.claim == claim.token)
        return bool(connection.execute(mine.values(claim=None, claimed_until=None, **values)).rowcount)

    @contextmanager
    def _kept_alive(self, claim: Claim) -> Iterator[None]:
        """Renew the claim from a thread for as long as the block takes."""
        over = threading.Event()
        keeper = threading.Thread(target=self._renew, args=(claim, over), name=f"claim {self._server}", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _renew(self, claim: Claim, over: threading.Event) -> None:
        while not over.wait(self._claim_s / 4):
            try:
                with self._store.write() as connection:
                    mine = servers.update().where(servers.c.server == self._server, servers.c.claim == claim.token)
                    connection.execute(mine.values(claimed_until=self._now(connection) + self._claim_s))
            except StoreError as error:
                log.warning("batch_server.claim_not_renewed", server=self._server, error=str(error))


def _is_free(now: float, claim_s: float) -> sa.ColumnElement[bool]:
    """Nobody's, or one that ran out; an end further away than claims last is of a clock that was set back."""
    until = servers.c.claimed_until
    return sa.or_(servers.c.claim.is_(None), until < now, until > now + 2 * claim_s)
