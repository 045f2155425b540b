"""Renewal of the leases that runs of this process hold: one thread, however many they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudmesh_actors import logs
from cloudmesh_actors.errors import StoreError
from cloudmesh_actors.leases.model import Lease
from cloudmesh_actors.leases.records import Leases
from cloudmesh_actors.nodes import fold

#: How often a lease is renewed within its term: a store that is away for most of it costs no lease.
RENEWALS = 4

log = logs.get_logger()


@dataclass(slots=True, eq=False)
class Kept:
    """A lease that is renewed until it is let go; `due_at` is when, by this process's clock."""

    lease: Lease
    ttl: float
    leases: Leases
    due_at: float = 0.0


class Keeper:
    """Renews leases in the background. Its thread lives as long as there are some."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._kept: set[Kept] = set()
        self._thread: threading.Thread | None = None
        self._store_is_away = False

    def keep(self, kept: Kept) -> None:
        """Renew a lease from now on."""
        kept.due_at = self._clock() + kept.ttl / RENEWALS
        with self._changed:
            self._kept.add(kept)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="leases", daemon=True)
                self._thread.start()

    def let_go(self, kept: Kept) -> None:
        """Renew it no more."""
        with self._changed:
            self._kept.discard(kept)
            self._changed.notify()

    def _work(self) -> None:
        while (due := self._await_due()) is not None:
            for leases in {kept.leases.store: kept.leases for kept in due}.values():
                self._renew(leases, [kept for kept in due if kept.leases.store is leases.store])

    def _await_due(self) -> list[Kept] | None:
        """The leases to renew, as soon as one is due, and with it all that are nearly so; None when none is kept."""
        with self._changed:
            while self._kept:
                now = self._clock()
                first = min(kept.due_at for kept in self._kept)
                if first <= now:
                    return [kept for kept in self._kept if kept.due_at <= now + kept.ttl / RENEWALS / 2]
                self._changed.wait(first - now)
            self._thread = None
            return None

    def _renew(self, leases: Leases, due: list[Kept]) -> None:
        for kept in due:
            kept.due_at = self._clock() + kept.ttl / RENEWALS
        try:
            lost = leases.keep((kept.lease, kept.ttl) for kept in due)
        except StoreError as error:
            if not self._store_is_away:
                log.warning("leases.not_renewed", error=str(error), nodes=len(due))
            self._store_is_away = True
            return
        self._store_is_away = False
        for kept in due:
            if kept.lease in lost:
                self.let_go(kept)
        if lost:
            log.warning("leases.lost", nodes=fold(lease.node for lease in lost))


keeper = Keeper()


def _forget_parents() -> None:
    """What a fork inherits is its parent's: the thread that renews is not here."""
    global keeper  # noqa: PLW0603
    keeper = Keeper()


os.register_at_fork(after_in_child=_forget_parents)
