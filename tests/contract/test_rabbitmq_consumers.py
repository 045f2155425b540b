"""RabbitMQ's consumers on a real server: delays beyond what it lets a consumer hold, and queues that are deleted."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from brokers import RabbitmqServer, running
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from engines import ended, engine, wait_until, working
from sample_actors import lines
from servers import require
from structlog.testing import capture_logs

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import runs
from cloudmesh_actors.broker import rabbitmq_consumers as module
from cloudmesh_actors.broker.aside import Fate
from cloudmesh_actors.broker.encoder import StrictEncoder
from cloudmesh_actors.broker.rabbitmq import ConfirmingRabbitmqBroker
from cloudmesh_actors.broker.rabbitmq_consumers import DelayedConsumer


class ImpatientRabbitmq(RabbitmqServer):
    """Gives up on a consumer that holds a message for a little over a second; the default is half an hour."""

    def environment(self) -> dict[str, str]:
        environment = super().environment()
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.write("consumer_timeout = 1200\n")
        (self.folder / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 200}]}].\n")
        return {**environment, "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config")}

    def timeouts(self) -> int:
        """How often it gave up on a consumer."""
        return sum(file.read_text().count("timed out waiting for") for file in (self.folder / "logs").glob("*.log"))


@pytest.fixture(scope="module")
def impatient() -> Iterator[Any]:
    require("rabbitmq-server")
    with running(ImpatientRabbitmq) as server:
        yield server


def test_a_delay_longer_than_the_consumer_timeout_meets_it_never(
    impatient: ImpatientRabbitmq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_AT_MOST_S", 0.4)
    effects = str(tmp_path / "effects")
    before = impatient.timeouts()
    with engine(impatient.url, tmp_path / "state", monkeypatch) as actors, working():
        sent_at = time.time()
        messages = [actors.note.send_with_options(args=(effects, str(n)), delay=3000) for n in range(20)]
        assert {ended(message).state for message in messages} == {"done"}
        wait_until(lambda: brokers.current().depth("rack")[:2] == (0, 0))

    assert sorted(lines(effects), key=int) == [str(n) for n in range(20)]
    assert time.time() - sent_at >= 3
    assert impatient.timeouts() == before


def test_held_longer_the_channel_would_have_been_closed(
    impatient: ImpatientRabbitmq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = impatient.timeouts()
    with engine(impatient.url, tmp_path / "state", monkeypatch) as actors, capture_logs(), working():
        message = actors.add.send_with_options(args=(1, 2), delay=3000)
        wait_until(lambda: impatient.timeouts() > before)
        assert ended(message).result == 3  # it came again


@pytest.fixture
def delayed(rabbitmq: RabbitmqServer) -> Iterator[Any]:
    dramatiq.set_encoder(StrictEncoder())
    broker = ConfirmingRabbitmqBroker(rabbitmq.url)
    broker.declare_queue("rack", ensure=True)
    yield broker
    with suppress(Exception):
        broker.close()


def send(broker: ConfirmingRabbitmqBroker, text: str, delay: int) -> None:
    message: Message[Any] = Message(queue_name="rack", actor_name="rack.echo", args=(text,), kwargs={}, options={})
    broker.enqueue(message, delay=delay)


def taken(consumer: Any, count: int, seconds: float = 20) -> list[str]:
    end, found = time.monotonic() + seconds, list[str]()
    while len(found) < count and time.monotonic() < end:
        if (message := next(consumer)) is not None:
            found.append(message.args[0])
            consumer.ack(message)
    return found


def test_delayed_messages_come_when_they_are_due_in_that_order(delayed: ConfirmingRabbitmqBroker) -> None:
    for text, delay in (("last", 900), ("first", 100), ("second", 500)):
        send(delayed, text, delay)
    consumer = delayed.consume("rack.DQ", prefetch=10, timeout=50)

    assert taken(consumer, 3) == ["first", "second", "last"]
    consumer.close()
    assert delayed.depth("rack")[1] == 0


def test_those_that_are_held_for_long_are_renewed_and_still_there(
    delayed: ConfirmingRabbitmqBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    consumer = DelayedConsumer(delayed, "rack.DQ", 10, 50, clock=lambda: now[0])
    for number in range(5):
        send(delayed, str(number), 1500)
    wait_until(lambda: next(consumer) or len(consumer._held) == 5)
    old = set(consumer._held)
    now[0] = module.HELD_AT_MOST_S
    wait_until(lambda: next(consumer) or (len(consumer._held) == 5 and not old & set(consumer._held)))

    assert sorted(taken(consumer, 5)) == ["0", "1", "2", "3", "4"]
    consumer.close()
    assert delayed.depth("rack")[:2] == (0, 0)


def test_a_consumer_that_dies_loses_none_that_it_held(delayed: ConfirmingRabbitmqBroker) -> None:
    send(delayed, "a", 300)
    dying = delayed.consume("rack.DQ", prefetch=10, timeout=50)
    wait_until(lambda: next(dying) or dying._held)
    dying.connection.close()

    following = delayed.consume("rack.DQ", prefetch=10, timeout=50)
    assert taken(following, 1) == ["a"]
    following.close()


def test_what_is_done_beyond_a_gap_does_not_take_with_it_what_is_not(delayed: ConfirmingRabbitmqBroker) -> None:
    for number in range(6):
        delayed.enqueue(Message("rack", "rack.echo", (str(number),), {}, {}))
    consumer: Any = delayed.consume("rack", 10, timeout=50)
    come = list[Any]()
    wait_until(lambda: come.append(next(consumer)) or len([each for each in come if each]) == 6)
    zero, one, two, three, four, _five = (each for each in come if each)

    consumer.ack_all([four, one])  # both beyond the gap that the first one is
    consumer.nack_all([three])
    next(consumer)
    consumer.ack_all([zero])
    next(consumer)
    consumer.ack_all([two])
    next(consumer)
    consumer.close()

    again: Any = delayed.consume("rack", 10, timeout=50)
    assert taken(again, 2, seconds=1) == ["5"]
    again.close()
    assert delayed.depth("rack") == (0, 0, None, 1)


def test_no_connection_is_left_when_rabbitmq_closed_its_channel(delayed: ConfirmingRabbitmqBroker) -> None:
    consumer: Any = delayed.consume("rack", 10, timeout=50)
    consumer.channel.basic_ack(99)  # which it never gave

    with pytest.raises(ConnectionClosed, match="unknown delivery tag"):
        taken(consumer, 1)
    with pytest.raises(ConnectionClosed):
        consumer.close()
    assert not consumer.connection.is_open


def test_nobody_waits_for_long_when_the_worker_stops(
    delayed: ConfirmingRabbitmqBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = delayed.consume("rack", 10, timeout=2_000)
    assert next(consumer) is None  # it has waited for messages already, as long as it may
    signal = runs.StopSignal()
    signal.stop(60)
    monkeypatch.setattr(runs, "stop_signal", signal)
    consumer._timeout_s = 60.0  # type: ignore[attr-defined]

    began = time.monotonic()
    assert next(consumer) is None
    consumer.rest()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 30
    consumer.close()


def test_a_connection_that_ended_while_it_was_idle_is_made_anew(delayed: ConfirmingRabbitmqBroker) -> None:
    for ask in (lambda: delayed.depth("rack"), delayed.ping, lambda: delayed.sift_aside("rack", lambda _: Fate.KEPT)):
        delayed.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
        ask()


def test_a_queue_that_was_deleted_is_made_again(
    rabbitmq: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.1)
    with engine(rabbitmq.url, tmp_path / "state", monkeypatch) as actors, capture_logs(), working():
        assert ended(actors.add.send(1, 2)).result == 3
        with rabbitmq.channel() as channel:
            channel.queue_delete("rack")
        assert ended(actors.add.send(2, 2)).result == 4
