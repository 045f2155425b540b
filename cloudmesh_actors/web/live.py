"""Live pages: a picture of what a page shows, drawn once for all who look at it, and its changes sent to them.

A thread draws the pictures of all pages that somebody looks at, whenever the store has changed; each listener is a
queue in the event loop. What is drawn, and how often, does not depend on how many browsers look at the same page.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from cloudmesh_actors import logs
from cloudmesh_actors.errors import CloudmeshError

#: Seconds between two looks at the store, at least.
LOOK_EVERY_S = 0.25

#: The part of a core that drawing may take: after a round that took t seconds, the next one waits for t / SHARE.
SHARE = 0.2

#: A picture that may change although the store does not is drawn at least this often, in seconds.
REDRAW_EVERY_S = 1.0

#: But nobody waits longer than this for news, in seconds.
LONGEST_PAUSE_S = 1.5

#: So many browsers may look at once; then there are no more streams until one of them leaves.
MAX_LISTENERS = 500

#: A browser that is so many changes behind is cut off, and begins anew.
MAX_BACKLOG = 32

#: A stream says at least this often that it is there, in seconds.
KEEP_ALIVE_S = 15.0

log = logs.get_logger()

Html = str


@dataclass(frozen=True)
class Picture:
    """What a page shows that may change.

    Args:
        parts: the HTML of single elements, by their ids.
        lists: the HTML of the children of elements that hold a list, by the element's id and the child's key.
    """

    parts: Mapping[str, Html] = field(default_factory=dict)
    lists: Mapping[str, Mapping[str, Html]] = field(default_factory=dict)


def changes(old: Picture, new: Picture) -> dict[str, Any]:
    """What a browser that shows `old` has to be told to show `new`; empty when they are the same.

    ``{"parts": {id: html}, "lists": {id: {"order": [key, ...] or None, "rows": {key: html}}}}``; the order is None
    when the list still has the same children in the same order.
    """
    parts = {name: html for name, html in new.parts.items() if old.parts.get(name) != html}
    lists = {}
    for name, rows in new.lists.items():
        before = old.lists.get(name, {})
        fresh = {key: html for key, html in rows.items() if before.get(key) != html}
        order = None if list(before) == list(rows) else list(rows)
        if fresh or order is not None:
            lists[name] = {"order": order, "rows": fresh}
    return {name: what for name, what in (("parts", parts), ("lists", lists)) if what}


def message(what: Mapping[str, Any]) -> bytes:
    """An event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return b"data: " + orjson.dumps(what) + b"\n\n"


class Full(Exception):
    """As many browsers look as may."""


class _Topic:
    """A page that somebody looks at."""

    def __init__(self, draw: Callable[[], Picture], restless: bool) -> None:
        self.draw, self.restless = draw, restless
        self.first = asyncio.Lock()  # the first listener has the picture drawn, others wait for it
        self.drawn = False
        self.picture = Picture()
        self.failed = ""
        self.listeners: set[asyncio.Queue[bytes | None]] = set()

    def redraw(self) -> bytes | None:
        """The message with what has changed; None when nothing has."""
        try:
            fresh, failed = self.draw(), ""
        except CloudmeshError as error:
            fresh, failed = self.picture, str(error)
        told = changes(self.picture, fresh)
        if failed != self.failed:
            told["trouble"] = failed
        self.picture, self.failed, self.drawn = fresh, failed, True
        return message(told) if told else None

    def whole(self) -> bytes:
        """The message for somebody who has seen nothing yet."""
        return message({**changes(Picture(), self.picture), "trouble": self.failed})


class Hub:
    """All streams of this process.

    Args:
        changed: tells whether the store may have changed since the last call.
    """

    def __init__(
        self,
        changed: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._changed, self._clock, self._look_every_s = changed, clock, look_every_s
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.Lock()  # of the topics' pictures
        self._wake, self._stopping = threading.Event(), False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self._drawn_at = float("-inf")

    def start(self) -> None:
        """Begin to draw. To be called in the event loop that serves the streams."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End all streams. May be called from any thread, and twice."""
        self._stopping = True
        self._wake.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_all)

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return sum(len(topic.listeners) for topic in self._topics.values())

    def check_room(self) -> None:
        """Raises Full when there are as many listeners as may be."""
        if self.listeners >= MAX_LISTENERS:
            raise Full

    async def listen(self, name: str, draw: Callable[[], Picture], *, restless: bool = False) -> AsyncIterator[bytes]:
        """The events of one browser: first everything, then what changes, until it leaves or the process stops.

        Args:
            name: the same for all who look at the same.
            draw: makes the picture; called in the hub's thread.
            restless: the picture may change although the store does not.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_BACKLOG)
        topic = self._topics.setdefault(name, _Topic(draw, restless))
        topic.listeners.add(queue)
        try:
            async with topic.first:
                if not topic.drawn:
                    await asyncio.to_thread(self._draw_first, topic)
            yield topic.whole()
            while not self._stopping and (event := await _next(queue)) is not None:
                yield event
        finally:
            topic.listeners.discard(queue)
            if not topic.listeners and self._topics.get(name) is topic:
                del self._topics[name]

    # -- in the event loop

    def _publish(self, topic: _Topic, event: bytes) -> None:
        for queue in list(topic.listeners):
            if queue.full():
                topic.listeners.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def _end_all(self) -> None:
        for topic in self._topics.values():
            for queue in topic.listeners:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    # -- in threads

    def _draw_first(self, topic: _Topic) -> None:
        with self._lock:
            topic.redraw()

    def _run(self) -> None:
        pause = self._look_every_s
        while not self._stopping:
            self._wake.wait(pause)
            began = self._clock()
            try:
                self._round()
            except Exception:  # one page's fault must not end the streams of all others
                log.exception("hub.failed")
            pause = min(max(self._look_every_s, (self._clock() - began) / SHARE), LONGEST_PAUSE_S)

    def _round(self) -> None:
        topics = list(self._topics.values())
        if not topics:
            return
        changed, now = self._store_changed(), self._clock()
        late = now - self._drawn_at >= REDRAW_EVERY_S
        if late:
            self._drawn_at = now
        for topic in topics:
            if not (changed or topic.failed or (late and topic.restless)):
                continue
            with self._lock:
                event = topic.redraw()
                if event is not None and self._loop is not None and not self._stopping:
                    self._loop.call_soon_threadsafe(self._publish, topic, event)

    def _store_changed(self) -> bool:
        try:
            return self._changed()
        except CloudmeshError:
            return True  # drawing tells what the trouble is


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    try:
        return await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
    except TimeoutError:
        return b": still here\n\n"
