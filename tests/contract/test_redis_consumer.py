"""Our Redis consumer against a real server: what is fetched, held, handed back and handed on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from brokers import RedisServer
from dramatiq.broker import MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from engines import wait_until
from pydantic import ByteSize

from cloudmesh_actors import runs
from cloudmesh_actors.broker import redis as module
from cloudmesh_actors.broker.encoder import StrictEncoder
from cloudmesh_actors.broker.redis import RedisConsumer, WakingRedisBroker, connection_errors


@pytest.fixture
def broker(valkey: RedisServer) -> Iterator[Callable[..., WakingRedisBroker]]:
    made: list[WakingRedisBroker] = []
    dramatiq.set_encoder(StrictEncoder())

    def make(**options: Any) -> WakingRedisBroker:
        made.append(WakingRedisBroker(valkey.url, **options))
        made[-1].declare_queue("rack")
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def one(broker: Callable[..., WakingRedisBroker]) -> WakingRedisBroker:
    return broker()


def send(broker: WakingRedisBroker, *texts: str, delay: int | None = None, queue: str = "rack") -> None:
    for text in texts:
        message = Message(queue_name=queue, actor_name="rack.echo", args=(text,), kwargs={}, options={})
        broker.enqueue(message, delay=delay)


def consume(broker: WakingRedisBroker, prefetch: int = 10, queue: str = "rack", timeout: int = 50) -> RedisConsumer:
    consumer = broker.consume(queue, prefetch, timeout)
    assert isinstance(consumer, RedisConsumer)
    return consumer


def take(consumer: RedisConsumer, limit: int = 100) -> list[MessageProxy]:
    """Messages until there are none."""
    taken: list[MessageProxy] = []
    while len(taken) < limit and (message := next(consumer)) is not None:
        taken.append(message)
    return taken


def texts(messages: list[MessageProxy]) -> list[str]:
    return [message.args[0] for message in messages]


def cut_connections(server: RedisServer) -> None:
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")


class TestFetching:
    def test_it_waits_for_messages_but_not_for_long_when_its_worker_stops(
        self, one: WakingRedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        consumer = consume(one, timeout=60_000)
        signal = runs.StopSignal()
        signal.stop(60)
        monkeypatch.setattr(runs, "stop_signal", signal)

        began = time.monotonic()
        assert next(consumer) is None
        consumer.rest()
        assert time.monotonic() - began < 30

    def test_a_limit_in_a_subclass_of_int_is_no_outage(self, one: WakingRedisBroker) -> None:
        """As settings have them; hiredis, where it is installed, sends int itself only."""
        dramatiq.set_encoder(StrictEncoder(max_bytes=ByteSize(1000)))
        send(one, "a")

        assert texts(take(consume(one))) == ["a"]

    def test_messages_come_in_order_and_no_more_than_may_be_held(self, one: WakingRedisBroker) -> None:
        send(one, *"abcde")
        consumer = consume(one, prefetch=3)
        first = take(consumer)
        assert texts(first) == ["a", "b", "c"]
        assert one.depth("rack") == (2, 0, 3, 0)

        consumer.ack_all(first[:2])
        assert texts(take(consumer)) == ["d", "e"]
        assert one.depth("rack") == (0, 0, 3, 0)

    def test_an_idle_consumer_is_woken_by_an_enqueue(self, one: WakingRedisBroker) -> None:
        consumer = consume(one, timeout=20_000)
        threading.Timer(0.2, send, (one, "a")).start()
        began, looks = time.monotonic(), 0
        while not (found := take(consumer, 1)):
            looks += 1
        assert (texts(found), looks <= 3) == (["a"], True)
        assert time.monotonic() - began < 10

    def test_a_full_one_is_woken_by_an_acknowledgement(self, one: WakingRedisBroker) -> None:
        send(one, "a", "b")
        consumer = consume(one, prefetch=1, timeout=20_000)
        [a] = take(consumer, 1)
        threading.Timer(0.2, consumer.ack, (a,)).start()
        began = time.monotonic()
        assert next(consumer) is None
        assert texts(take(consumer, 1)) == ["b"]
        assert time.monotonic() - began < 10

    def test_one_that_misses_the_announcement_looks_by_itself(
        self, one: WakingRedisBroker, valkey: RedisServer
    ) -> None:
        consumer = consume(one, timeout=100)
        assert next(consumer) is None
        body = Message(queue_name="rack", actor_name="a", args=("x",), kwargs={}, options={}).encode()
        valkey.publish(body)  # as Dramatiq's own broker does: nothing is announced
        wait_until(lambda: texts(take(consumer, 1)) == ["x"])

    def test_a_delayed_one_is_waited_for_until_it_is_due(self, one: WakingRedisBroker) -> None:
        send(one, "a", delay=300)
        consumer = consume(one, queue="rack.DQ", timeout=20_000)
        [message] = take(consumer, 1)
        began, looks = time.monotonic(), 0
        while current_millis() < message.options["eta"]:
            assert next(consumer) is None
            looks += 1

        assert looks <= 4
        assert time.monotonic() - began < 10

    def test_a_body_that_cannot_be_read_is_set_aside_alone(self, one: WakingRedisBroker, valkey: RedisServer) -> None:
        send(one, "a")
        valkey.publish(b"\xff")
        send(one, "b")
        consumer = consume(one)

        assert texts(take(consumer, 1)) == ["a"]
        assert next(consumer) is None
        assert texts(take(consumer, 1)) == ["b"]
        assert one.depth("rack")[3] == 1

    def test_an_id_without_a_body_is_forgotten(self, one: WakingRedisBroker, valkey: RedisServer) -> None:
        with valkey.client() as client:
            client.rpush("dramatiq:rack", "stale")
            consumer = consume(one)
            assert next(consumer) is None
            assert client.smembers(consumer._acks) == set()

    def test_an_enqueue_whose_reply_was_lost_is_repeated_without_harm(self, one: WakingRedisBroker) -> None:
        for _ in range(2):
            one._deliver("rack", "the-id", b"body")

        assert one.depth("rack")[0] == 1


class TestAcknowledging:
    def test_what_is_done_is_gone(self, one: WakingRedisBroker, valkey: RedisServer) -> None:
        send(one, *"abc")
        consumer = consume(one)
        a, b, c = take(consumer)
        consumer.ack(a)
        consumer.ack_all([b])
        consumer.nack(c)

        assert one.depth("rack") == (0, 0, 0, 1)
        with valkey.client() as client:
            assert client.keys("dramatiq:__acks__*") == []
            assert client.hlen("dramatiq:rack.XQ.msgs") == 1

    def test_it_waits_while_the_server_is_away_and_is_told_when_it_is_back(
        self, one: WakingRedisBroker, valkey: RedisServer
    ) -> None:
        send(one, *"abc")
        consumer = consume(one)
        a, b, _ = take(consumer)
        valkey.kill()
        consumer.ack_all([a])
        consumer.nack_all([b])
        with pytest.raises(ConnectionClosed):
            for _ in range(1000):
                next(consumer)
        valkey.start()

        again = consume(one)
        take(again)
        assert one.depth("rack") == (0, 0, 1, 1)

    def test_what_was_set_aside_is_kept_for_a_week(
        self, one: WakingRedisBroker, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(one, "a")
        consumer = consume(one)
        consumer.nack_all(take(consumer))
        consumer._broker.maintain()
        assert one.depth("rack")[3] == 1

        monkeypatch.setattr(module, "SET_ASIDE_KEPT_MS", -2000)
        consumer._broker.maintain()
        assert one.depth("rack")[3] == 0
        with valkey.client() as client:
            assert client.hlen("dramatiq:rack.XQ.msgs") == 0


class TestHandingBack:
    def test_a_close_hands_back_what_was_fetched_and_not_what_is_in_hand(self, one: WakingRedisBroker) -> None:
        send(one, *"abcd")
        consumer = consume(one)
        in_hand = take(consumer, 2)
        consumer.close()

        assert one.depth("rack") == (2, 0, 2, 0)
        assert texts(take(consume(one, prefetch=4))) == ["c", "d"]
        assert texts(in_hand) == ["a", "b"]

    def test_a_requeue_puts_them_at_the_head_in_their_order(self, one: WakingRedisBroker) -> None:
        send(one, *"abcd")
        consumer = consume(one)
        consumer.requeue(take(consumer)[1:3])

        assert texts(take(consumer)) == ["b", "c"]

    def test_a_consumer_of_delayed_messages_hands_back_all(self, one: WakingRedisBroker) -> None:
        send(one, "a", "b", delay=60_000)
        consumer = consume(one, queue="rack.DQ")
        take(consumer, 2)
        consumer.close()

        assert texts(take(consume(one, queue="rack.DQ"), 2)) == ["a", "b"]

    def test_after_a_cut_the_next_one_finds_what_the_last_had_fetched_and_nothing_that_is_in_hand(
        self, one: WakingRedisBroker, valkey: RedisServer
    ) -> None:
        send(one, *"abcd")
        last = consume(one)
        [a] = take(last, 1)
        cut_connections(valkey)  # and `last` is never closed

        following = consume(one)
        assert sorted(texts(take(following))) == ["b", "c", "d"]
        following.ack_all([a])
        assert one.depth("rack") == (0, 0, 3, 0)

    def test_a_fetch_whose_reply_was_lost_is_found_too(self, one: WakingRedisBroker, valkey: RedisServer) -> None:
        send(one, "a")
        consumer = consume(one)
        keys = [consumer._list, consumer._bodies, consumer._acks, "dramatiq:__heartbeats__"]
        consumer._script["fetch"](keys=keys, args=[1, one.broker_id, 1000])
        assert one.depth("rack") == (0, 0, 1, 0)

        assert texts(take(consume(one))) == ["a"]

    def test_a_delayed_message_outlives_a_cut(self, one: WakingRedisBroker, valkey: RedisServer) -> None:
        send(one, "a", delay=60_000)
        take(consume(one, queue="rack.DQ"), 1)
        cut_connections(valkey)

        assert texts(take(consume(one, queue="rack.DQ"), 1)) == ["a"]


#: Counts a worker as dead in a time that a test can wait.
QUICK = {"heartbeat_timeout_ms": 200, "maintenance_every_s": 0.1}


class TestHandingOn:
    def test_a_dead_workers_messages_go_to_others_on_any_queue(self, broker: Callable[..., WakingRedisBroker]) -> None:
        dead, alive = broker(), broker(**QUICK)
        send(dead, "a", "b")
        send(dead, "p", queue="pbs")
        send(dead, "d", delay=60_000)
        for queue in ("rack", "pbs", "rack.DQ"):
            take(consume(dead, queue=queue), 1)
        mine = consume(alive)

        found: list[str] = []
        wait_until(lambda: found.extend(texts(take(mine))) or len(found) == 2)
        assert sorted(found) == ["a", "b"]
        assert texts(take(consume(alive, queue="pbs"))) == ["p"]
        assert texts(take(consume(alive, queue="rack.DQ"), 1)) == ["d"]

    def test_a_living_workers_messages_stay(
        self, broker: Callable[..., WakingRedisBroker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HEARTBEAT_EVERY_S", 0.02)
        busy, other = broker(**QUICK), broker(**QUICK)
        send(busy, "a")
        held = consume(busy, prefetch=1)
        take(held, 1)
        idle = consume(other)
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            assert next(held) is None
            assert next(idle) is None

        assert other.depth("rack") == (0, 0, 1, 0)

    def test_after_an_outage_the_others_may_come_back_before_they_count_as_dead(
        self, broker: Callable[..., WakingRedisBroker]
    ) -> None:
        late, early = broker(), broker(heartbeat_timeout_ms=200, maintenance_every_s=1.0)
        send(late, "a")
        take(consume(late), 1)
        time.sleep(0.4)  # nobody sent a heartbeat for longer than it takes to be dead

        first = consume(early)
        assert next(first) is None
        consume(late, prefetch=1)._keep_up()  # it comes back
        early.heartbeat_timeout_ms = 5_000
        time.sleep(1.0)
        assert next(first) is None
        assert early.depth("rack") == (0, 0, 1, 0)

    def test_a_clock_that_is_wrong_does_no_harm(
        self, broker: Callable[..., WakingRedisBroker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ahead, normal = broker(), broker()
        send(normal, "a")
        take(consume(normal), 1)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        other = consume(ahead)
        other._broker.maintain()

        assert next(other) is None

    def test_an_acknowledgement_of_what_was_handed_on_takes_nothing_from_the_new_owner(
        self, broker: Callable[..., WakingRedisBroker]
    ) -> None:
        paused, alive = broker(), broker(**QUICK)
        send(paused, "a")
        old = consume(paused)
        [stale] = take(old, 1)
        mine = consume(alive)
        found: list[MessageProxy] = []
        wait_until(lambda: found.extend(take(mine)) or found)

        old.ack(stale)
        assert alive.depth("rack") == (0, 0, 1, 0)
        mine.ack_all(found)
        assert alive.depth("rack") == (0, 0, 0, 0)


def test_a_cut_is_an_error_that_dramatiq_knows(one: WakingRedisBroker, valkey: RedisServer) -> None:
    consumer = consume(one)
    valkey.kill()

    with pytest.raises(ConnectionClosed):
        for _ in range(1000):
            next(consumer)
    for ask in (one.ping, lambda: one.depth("rack"), lambda: consume(one), lambda: send(one, "a")):
        with pytest.raises(ConnectionClosed):
            ask()
    consumer.close()


def test_so_is_a_server_that_hangs(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
    hung = WakingRedisBroker(valkey.url)
    consumer = consume(hung)
    valkey.pause()
    try:
        for ask in (hung.ping, lambda: send(hung, "a"), consumer._fetch):
            with pytest.raises(ConnectionClosed), connection_errors():
                ask()
    finally:
        valkey.resume()
    hung.close()
