"""Pictures and their differences; a hub that draws once for all who look."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from cloudmesh_actors.errors import StoreUnavailable
from cloudmesh_actors.web import live
from cloudmesh_actors.web.counting import Cached
from cloudmesh_actors.web.live import Hub, Picture, changes

TABLE = Picture({"head": "<p>1</p>"}, {"rows": {"a": "<tr>a", "b": "<tr>b"}})


def test_the_same_picture_has_no_changes() -> None:
    assert changes(TABLE, Picture(dict(TABLE.parts), {"rows": dict(TABLE.lists["rows"])})) == {}


def test_only_what_differs_is_told() -> None:
    fresh = Picture({"head": "<p>1</p>"}, {"rows": {"a": "<tr>A", "b": "<tr>b"}})

    assert changes(TABLE, fresh) == {"lists": {"rows": {"order": None, "rows": {"a": "<tr>A"}}}}


@pytest.mark.parametrize("keys", [["b", "a"], ["a"], [], ["c", "a", "b"]])
def test_the_order_is_told_when_it_is_another_one(keys: list[str]) -> None:
    fresh = Picture(TABLE.parts, {"rows": {key: f"<tr>{key}" for key in keys}})

    told = changes(TABLE, fresh)["lists"]["rows"]

    assert told["order"] == keys
    assert set(told["rows"]) == set(keys) - {"a", "b"}


class World:
    """A store that a test changes, and how often it was drawn."""

    def __init__(self) -> None:
        self.text, self.drawn, self.news = "one", 0, False
        self.trouble = False
        self.hub = Hub(self.changed, look_every_s=0.005)

    def changed(self) -> bool:
        news, self.news = self.news, False
        return news

    def draw(self) -> Picture:
        self.drawn += 1
        if self.trouble:
            raise StoreUnavailable("The store does not answer.")
        return Picture({"text": self.text})

    def write(self, text: str) -> None:
        self.text, self.news = text, True


def run(scenario: Callable[[World], Any]) -> None:
    async def inside() -> None:
        world = World()
        world.hub.start()
        try:
            await asyncio.wait_for(scenario(world), 30)
        finally:
            world.hub.stop()

    asyncio.run(inside())


async def event(stream: AsyncIterator[bytes]) -> dict[str, Any]:
    text = (await anext(stream)).decode()
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    return dict(json.loads(text.removeprefix("data: ")))


def test_a_listener_sees_everything_first_and_then_what_changes() -> None:
    async def scenario(world: World) -> None:
        async with aclosing(world.hub.listen("page", world.draw)) as stream:
            assert (await event(stream))["parts"] == {"text": "one"}
            world.write("two")
            assert (await event(stream))["parts"] == {"text": "two"}
        assert world.hub.listeners == 0

    run(scenario)


def test_a_page_is_drawn_once_for_all_who_look() -> None:
    async def scenario(world: World) -> None:
        streams = [world.hub.listen("page", world.draw) for _ in range(50)]
        await asyncio.gather(*(event(stream) for stream in streams))
        assert world.drawn == 1
        world.write("two")
        seen = await asyncio.gather(*(event(stream) for stream in streams))
        assert world.drawn == 2
        assert all(each["parts"] == {"text": "two"} for each in seen)
        for stream in streams:
            await stream.aclose()

    run(scenario)


def test_a_page_that_cannot_be_drawn_says_why_and_recovers() -> None:
    async def scenario(world: World) -> None:
        async with aclosing(world.hub.listen("page", world.draw)) as stream:
            await event(stream)
            world.trouble = True
            world.write("two")
            assert (await event(stream)) == {"trouble": "The store does not answer."}
            world.trouble = False
            assert (await event(stream)) == {"parts": {"text": "two"}, "trouble": ""}

    run(scenario)


def test_a_stop_ends_all_streams_at_once() -> None:
    async def scenario(world: World) -> None:
        streams = [world.hub.listen(f"page {number}", world.draw) for number in range(5)]
        await asyncio.gather(*(event(stream) for stream in streams))
        world.hub.stop()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    run(scenario)


def test_a_browser_that_does_not_read_is_cut_off() -> None:
    async def scenario(world: World) -> None:
        async with aclosing(world.hub.listen("page", world.draw)) as stream:
            await event(stream)
            topic = world.hub._topics["page"]
            for number in range(live.MAX_BACKLOG + 1):
                world.hub._publish(topic, b"data: %d\n\n" % number)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    run(scenario)


def test_there_is_an_end_to_the_number_of_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_LISTENERS", 1)

    async def scenario(world: World) -> None:
        world.hub.check_room()
        async with aclosing(world.hub.listen("page", world.draw)) as stream:
            await event(stream)
            with pytest.raises(live.Full):
                world.hub.check_room()

    run(scenario)


def test_a_dear_count_is_made_once_for_many_callers_and_again_when_it_is_stale() -> None:
    made, now = [], [0.0]
    cached = Cached(lambda: made.append(1) or len(made), clock=lambda: now[0])

    assert [cached.get() for _ in range(10)] == [1] * 10
    now[0] = 5.0
    assert cached.get() == 1  # a new one is made behind
    end = time.monotonic() + 30
    while cached.get() == 1:
        assert time.monotonic() < end
        time.sleep(0.005)
    now[0] = 1000.0
    assert cached.get() == 3


def test_a_count_that_is_forgotten_is_made_at_once() -> None:
    made: list[int] = []
    cached = Cached(lambda: made.append(1) or len(made))
    cached.get()
    cached.forget()

    assert cached.get() == 2
