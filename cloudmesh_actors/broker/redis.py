"""Redis, Valkey and the embedded broker: Dramatiq's keys, and a consumer that is woken instead of polling.

The keys are those of Dramatiq's own Redis broker, so a plain Dramatiq program can send to our workers. What differs:

* each enqueue publishes on a channel that idle consumers listen to, so a task begins in milliseconds while an idle
  worker hardly wakes; one that missed a notification looks every `timeout`;
* a fetch gives ids with bodies: a body that cannot be read is set aside, and takes nobody with it; one that is too long
  is not even fetched;
* heartbeats use the server's clock, and maintenance goes by a timer and over every queue, so that the messages of a
  dead worker are handed on in seconds, also on a queue that nobody else consumes;
* what was fetched and not begun is handed back when the consumer closes, at the head of the queue; what a cut
  connection left in between is found when the next one opens;
* acknowledgements go in batches, and wait while the server is away.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name, q_name
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message
from redis.backoff import NoBackoff
from redis.retry import Retry

from cloudmesh_actors import logs, runs
from cloudmesh_actors.broker import encoder
from cloudmesh_actors.broker.aside import Fate, Judge, Stored, tell_unreadable

#: Without a heartbeat for this long, a worker counts as dead and its messages are handed on.
HEARTBEAT_TIMEOUT_MS = 15_000

#: How often a consumer sends a heartbeat, also while it holds all the messages that it may.
HEARTBEAT_EVERY_S = 2.0

#: How often a consumer looks for the messages of dead workers.
MAINTENANCE_EVERY_S = 5.0

#: How long messages that were set aside are kept.
SET_ASIDE_KEPT_MS = 7 * 86_400_000

#: How long the server may take to accept a connection, and to answer, in seconds.
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0

#: Messages that were set aside are looked at so many at a time.
ASIDE_AT_ONCE = 100

#: Wait before the second and last try to send, in seconds: the server may just have been started anew.
SEND_AGAIN_S = 0.2

# Keys, as Dramatiq names them: NS:QUEUE (list of ids), NS:QUEUE.msgs (id → body), NS:__acks__.WORKER.QUEUE (set of ids
# fetched and not acknowledged), NS:__heartbeats__ (worker → time), NS:QUEUE.XQ and .XQ.msgs (set aside). Ours:
# NS:__queues__ (every queue that was consumed), NS:__wake__.QUEUE (a channel).

# A sender that lost the reply sends again: the id is in the list once.
_ENQUEUE = """
if redis.call("hset", KEYS[2], ARGV[1], ARGV[2]) == 1 then redis.call("rpush", KEYS[1], ARGV[1]) end
redis.call("publish", KEYS[3], "1")
"""

# Of a body that is too long only its length comes, after a NUL.
_ENQUEUE_MANY = """
for i = 1, #ARGV, 2 do
    if redis.call("hset", KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then redis.call("rpush", KEYS[1], ARGV[i]) end
end
redis.call("publish", KEYS[3], "1")
"""

_FETCH = """
local time = redis.call("time")
redis.call("zadd", KEYS[4], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[2])
local found = {}
for i = 1, ARGV[1] do
    local id = redis.call("lpop", KEYS[1])
    if not id then break end
    redis.call("sadd", KEYS[3], id)
    local body = redis.call("hget", KEYS[2], id)
    if body and #body > tonumber(ARGV[3]) then body = "\0" .. #body end
    found[#found + 1] = id
    found[#found + 1] = body
end
return found
"""

_ACK = """
for _, id in ipairs(ARGV) do
    if redis.call("srem", KEYS[1], id) > 0 then redis.call("hdel", KEYS[2], id) end
end
"""

_SET_ASIDE = """
local time = redis.call("time")
for i, id in ipairs(ARGV) do
    if redis.call("srem", KEYS[1], id) > 0 then
        local body = redis.call("hget", KEYS[2], id)
        redis.call("hdel", KEYS[2], id)
        if body then
            redis.call("zadd", KEYS[3], time[1] * 1000 + (time[2] + i) / 1000, id)
            redis.call("hset", KEYS[4], id, body)
        end
    end
end
"""

_HAND_BACK = """
local n = 0
for i = #ARGV, 1, -1 do
    if redis.call("srem", KEYS[3], ARGV[i]) > 0 and redis.call("hexists", KEYS[2], ARGV[i]) > 0 then
        redis.call("lpush", KEYS[1], ARGV[i])
        n = n + 1
    end
end
if n > 0 then redis.call("publish", KEYS[4], "1") end
return n
"""

_DROP_ASIDE = """
redis.call("zrem", KEYS[1], ARGV[1])
return redis.call("hdel", KEYS[2], ARGV[1])
"""

# Whoever else takes the message away meanwhile: the new one is in its queue, once.
_REQUEUE_ASIDE = """
redis.call("zrem", KEYS[1], ARGV[1])
redis.call("hdel", KEYS[2], ARGV[1])
if redis.call("hset", KEYS[4], ARGV[2], ARGV[3]) == 1 then redis.call("rpush", KEYS[3], ARGV[2]) end
redis.call("publish", KEYS[5], "1")
return 1
"""

_HEARTBEAT = """
local time = redis.call("time")
redis.call("zadd", KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
redis.call("sadd", KEYS[2], ARGV[2])
"""

# Hands on what workers without a heartbeat held, on every queue that was ever consumed, and forgets what was set aside
# long ago.
_MAINTAIN = """
local time = redis.call("time")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ns, handed = ARGV[1], 0
local queues = redis.call("smembers", ns .. ":__queues__")
for _, dead in ipairs(redis.call("zrangebyscore", ns .. ":__heartbeats__", 0, now - ARGV[2])) do
    for _, name in ipairs(queues) do
        local queue = ns .. ":" .. name
        local acks = ns .. ":__acks__." .. dead .. "." .. name
        for _, id in ipairs(redis.call("smembers", acks)) do
            if redis.call("hexists", queue .. ".msgs", id) > 0 then
                redis.call("lpush", queue, id)
                handed = handed + 1
            end
        end
        redis.call("del", acks)
        redis.call("publish", ns .. ":__wake__." .. name, "1")
    end
    redis.call("zrem", ns .. ":__heartbeats__", dead)
end
for _, name in ipairs(queues) do
    local aside = ns .. ":" .. name .. ".XQ"
    for _, id in ipairs(redis.call("zrangebyscore", aside, 0, now - ARGV[3])) do
        redis.call("zrem", aside, id)
        redis.call("hdel", aside .. ".msgs", id)
    end
end
return handed
"""

log = logs.get_logger()


class WakingRedisBroker(RedisBroker):
    """Dramatiq's Redis broker with our consumer, server time, and connections that notice a dead peer.

    Args:
        heartbeat_timeout_ms: see `HEARTBEAT_TIMEOUT_MS`; shorter in tests.
        maintenance_every_s: see `MAINTENANCE_EVERY_S`.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "dramatiq",
        middleware: list[Any] | None = None,
        heartbeat_timeout_ms: int | None = None,
        maintenance_every_s: float | None = None,
    ) -> None:
        # redis-py's own retries would hide a cut from the consumer, who has to look what it left behind
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 0),
        )
        super().__init__(client=client, namespace=namespace, middleware=middleware or [])
        self.heartbeat_timeout_ms = heartbeat_timeout_ms or HEARTBEAT_TIMEOUT_MS
        self.maintenance_every_s = maintenance_every_s or MAINTENANCE_EVERY_S
        self._enqueue_script = client.register_script(_ENQUEUE)
        self._enqueue_many_script = client.register_script(_ENQUEUE_MANY)
        self._maintain_script = client.register_script(_MAINTAIN)
        self._holdings: dict[str, Holdings] = {}

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Put a message into its queue, `delay` milliseconds from now at the earliest.

        Raises:
            ConnectionClosed: Redis does not answer.
        """
        queue = message.queue_name
        options: dict[str, Any] = {"redis_message_id": str(uuid4())}
        if delay is not None:
            queue = dq_name(queue)
            options["eta"] = current_millis() + delay
        message = message.copy(queue_name=queue, options=options)
        self.emit_before("enqueue", message, delay)
        self._deliver(queue, options["redis_message_id"], message.encode())
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(self, messages: Sequence[Message[Any]]) -> None:
        """Put messages into their queues, those of a queue all at once.

        Raises:
            ConnectionClosed: Redis does not answer; some may be there all the same.
        """
        by_queue = defaultdict[str, list[Any]](list)
        for plain in messages:
            redis_id = str(uuid4())
            message = plain.copy(options={"redis_message_id": redis_id})
            self.emit_before("enqueue", message, None)
            by_queue[message.queue_name] += [redis_id, message.encode()]
        for queue, arguments in by_queue.items():
            self._run_enqueue(self._enqueue_many_script, queue, arguments)
        for message in messages:
            self.emit_after("enqueue", message, None)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of one queue, which looks at it at least every `timeout` milliseconds."""
        with connection_errors():
            return RedisConsumer(self, queue_name, prefetch, timeout)

    def holdings(self, queue: str) -> Holdings:
        """What this process holds of a queue."""
        return self._holdings.setdefault(queue, Holdings())

    def hand_on(self, consumers: Sequence[str]) -> None:
        """Give the messages of consumers that are known to be dead to others at once. Raises ConnectionClosed."""
        with connection_errors():
            self.client.zadd(self.key("__heartbeats__"), dict.fromkeys(consumers, 0), xx=True)
            self.maintain()

    def maintain(self) -> None:
        """Give what dead consumers held to others, and forget what was set aside long ago. Raises redis.RedisError."""
        arguments = [self.namespace, self.heartbeat_timeout_ms, SET_ASIDE_KEPT_MS]
        if handed := self._maintain_script(args=arguments):
            log.warning("messages.handed_on", count=handed, reason="a worker died")

    def key(self, name: str) -> str:
        """A key in this broker's namespace."""
        return f"{self.namespace}:{name}"

    def wake_channel(self, queue: str) -> str:
        """The channel on which an enqueue is announced."""
        return self.key(f"__wake__.{queue}")

    def depth(self, queue: str) -> tuple[int, int, int | None, int]:
        """Messages that are ready, delayed, running (or fetched) and set aside. Raises ConnectionClosed."""
        delayed = dq_name(queue)
        with connection_errors(), self.client.pipeline(transaction=False) as pipe:
            pipe.llen(self.key(queue))
            pipe.hlen(self.key(f"{queue}.msgs"))
            pipe.hlen(self.key(f"{delayed}.msgs"))
            pipe.zcard(self.key(f"{queue}.XQ"))
            ready, known, waiting, aside = pipe.execute()
        return ready, waiting, max(0, known - ready), aside

    def sift_aside(self, queue: str, judge: Judge) -> int:
        """Have each message that was set aside judged; how many were dropped or requeued. Raises ConnectionClosed."""
        aside = self.key(f"{queue}.XQ")
        with connection_errors():
            waiting: Any = self.client.zrange(aside, 0, -1, withscores=True)
            chunks = (waiting[at : at + ASIDE_AT_ONCE] for at in range(0, len(waiting), ASIDE_AT_ONCE))
            found = (stored for part in chunks for stored in self._aside(queue, part))
            return sum(self._carry_out(stored, judge(stored)) for stored in found)

    def _aside(self, queue: str, ids_with_scores: list[tuple[bytes, float]]) -> Iterator[Stored]:
        bodies, ids = self.key(f"{queue}.XQ.msgs"), [name for name, _ in ids_with_scores]
        sizes = self._pipelined("hstrlen", bodies, ids)
        fetched = [name for name, size in zip(ids, sizes, strict=True) if size <= encoder.longest()]
        found = dict(zip(fetched, self._pipelined("hget", bodies, fetched), strict=True))
        for (name, score), size in zip(ids_with_scores, sizes, strict=True):
            yield Stored(queue, _text(name), found.get(name) or b"", size, score / 1000, {})

    def _pipelined(self, command: str, key: str, ids: list[bytes]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipe:
            for name in ids:
                getattr(pipe, command)(key, name)
            answers: list[Any] = pipe.execute()
        return answers

    def _carry_out(self, stored: Stored, fate: Fate | Message[Any]) -> int:
        queue = stored.queue
        keys = [self.key(f"{queue}.XQ"), self.key(f"{queue}.XQ.msgs")]
        if fate is Fate.DROPPED:
            return int(self.client.eval(_DROP_ASIDE, len(keys), *keys, stored.key))
        if isinstance(fate, Message):
            keys += [self.key(queue), self.key(f"{queue}.msgs"), self.wake_channel(queue)]
            body = fate.copy(options={"redis_message_id": fate.message_id}).encode()
            return int(self.client.eval(_REQUEUE_ASIDE, len(keys), *keys, stored.key, fate.message_id, body))
        return 0

    def ping(self) -> None:
        """Raises ConnectionClosed when Redis does not answer."""
        with connection_errors():
            self.client.ping()

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def _deliver(self, queue: str, redis_id: str, body: bytes) -> None:
        self._run_enqueue(self._enqueue_script, queue, [redis_id, body])

    def _run_enqueue(self, script: Any, queue: str, arguments: list[Any]) -> None:
        keys = [self.key(queue), self.key(f"{queue}.msgs"), self.wake_channel(queue)]
        try:
            script(keys=keys, args=arguments)
        except redis.ConnectionError:
            time.sleep(SEND_AGAIN_S)
            with connection_errors():
                script(keys=keys, args=arguments)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None


class Holdings:
    """The messages of one queue that this process holds, by their ids in Redis.

    They outlive a connection, as the runs of their messages do: `held` by worker threads (with the time at which a
    delayed one is due, in milliseconds), `done`, `aside` and `back` (not begun) by the consumer, which still has to
    tell the server.
    """

    def __init__(self) -> None:
        self.held: dict[str, int | None] = {}
        self.done: set[str] = set()
        self.aside: set[str] = set()
        self.back: deque[str] = deque()
        self.telling = threading.Lock()
        self.room = threading.Event()

    def known(self) -> set[str]:
        """All of them."""
        return {*self.held, *self.done, *self.aside}


class RedisConsumer(Consumer):
    """Fetches from one queue; used by one consumer thread, but for `ack_all` and `nack_all`, which any may call."""

    def __init__(
        self,
        broker: WakingRedisBroker,
        queue: str,
        prefetch: int,
        timeout_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._queue, self._prefetch, self._timeout_s = broker, queue, prefetch, timeout_ms / 1000
        self._clock = clock
        self._fetched: deque[tuple[bytes, bytes | None]] = deque()
        self._mine = broker.holdings(queue)
        self._delayed = queue != q_name(queue)
        self._heartbeat_due = clock()
        # not at once: after an outage the others have to come back and send theirs first
        self._maintenance_due = clock() + broker.maintenance_every_s
        self._script = {
            name: broker.client.register_script(text)
            for name, text in [("fetch", _FETCH), ("ack", _ACK), ("set_aside", _SET_ASIDE), ("hand_back", _HAND_BACK),
                               ("heartbeat", _HEARTBEAT)]
        }  # fmt: skip
        self._list, self._bodies = broker.key(queue), broker.key(f"{queue}.msgs")
        self._acks = broker.key(f"__acks__.{broker.broker_id}.{queue}")
        aside = broker.key(f"{q_name(queue)}.XQ")
        self._aside, self._aside_bodies = aside, f"{aside}.msgs"
        self._reconcile()
        self._wake = broker.client.pubsub(ignore_subscribe_messages=True)
        self._wake.subscribe(broker.wake_channel(queue))

    def __next__(self) -> MessageProxy | None:
        with connection_errors():
            self._keep_up()
            self._give_back()
            if not self._fetched and len(self._mine.held) < self._prefetch:
                self._fetch()
            if self._fetched:
                return self._next_fetched()
            self._wait()
            return None

    def ack(self, message: MessageProxy) -> None:
        """Forget a message for good; at once, or as soon as the server answers again."""
        self.ack_all([message])

    def nack(self, message: MessageProxy) -> None:
        """Set a message aside; at once, or as soon as the server answers again."""
        self.nack_all([message])

    def ack_all(self, messages: list[MessageProxy]) -> None:
        """Forget messages for good; at once, or as soon as the server answers again."""
        self._let_go(messages, self._mine.done)

    def nack_all(self, messages: list[MessageProxy]) -> None:
        """Set messages aside; at once, or as soon as the server answers again."""
        self._let_go(messages, self._mine.aside)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages that were not begun, to the head of the queue. Raises ConnectionClosed."""
        with connection_errors():
            self._hand_back([message.options["redis_message_id"] for message in messages])

    def put_back(self, message: MessageProxy) -> None:
        """Hand back a message that was not begun, soon: threads let go of many at once, and their order is to stay."""
        redis_id = message.options["redis_message_id"]
        self._mine.back.append(redis_id)
        self._mine.held.pop(redis_id, None)

    def rest(self) -> None:
        """Hand back what was fetched and not begun, go on with heartbeats and maintenance, wait. For a paused queue."""
        with connection_errors():
            self._keep_up()
            self._mine.room.clear()
            self._mine.room.wait(self._patience())
            self._give_back([_text(name) for name, _ in self._fetched])
            self._fetched.clear()

    def close(self) -> None:
        """Hand back what was fetched, and of delayed messages all: nobody else holds them. Raises ConnectionClosed."""
        try:
            with connection_errors():
                self._tell()
                delayed = [*self._mine.held] if self._delayed else []
                self._give_back([*(_text(name) for name, _ in self._fetched), *delayed])
                self._fetched.clear()
        finally:
            with contextlib.suppress(redis.RedisError):
                self._wake.close()

    def _reconcile(self) -> None:
        """Hand back what the server thinks is ours and nobody here holds: a reply was lost, or a consumer died."""
        if self._delayed:
            self._mine.held.clear()
        known = self._mine.known()
        theirs: set[Any] = self._broker.client.smembers(self._acks)
        self._hand_back([name for name in map(_text, theirs) if name not in known])

    def _keep_up(self) -> None:
        now = self._clock()
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + HEARTBEAT_EVERY_S
            keys = [self._broker.key("__heartbeats__"), self._broker.key("__queues__")]
            self._script["heartbeat"](keys=keys, args=[self._broker.broker_id, self._queue])
            self._tell()
        if now >= self._maintenance_due:
            self._maintenance_due = now + self._broker.maintenance_every_s
            self._broker.maintain()

    def _fetch(self) -> None:
        keys = [self._list, self._bodies, self._acks, self._broker.key("__heartbeats__")]
        room = self._prefetch - len(self._mine.held)
        found = self._script["fetch"](keys=keys, args=[room, self._broker.broker_id, encoder.longest()])
        self._fetched.extend(zip(found[::2], found[1::2], strict=True))

    def _next_fetched(self) -> MessageProxy | None:
        raw_id, body = self._fetched.popleft()
        redis_id = _text(raw_id)
        if body is None:  # another consumer has ended it
            self._script["ack"](keys=[self._acks, self._bodies], args=[raw_id])
            return None
        try:
            message = _read(body, self._queue).copy(options={"redis_message_id": redis_id})
        except DecodeError as error:
            tell_unreadable(self._queue, error)
            self._put_aside([raw_id])
            return None
        self._mine.held[redis_id] = message.options.get("eta")
        return MessageProxy(message)

    def _let_go(self, messages: list[MessageProxy], to_tell: set[str]) -> None:
        for message in messages:
            redis_id = message.options["redis_message_id"]
            to_tell.add(redis_id)
            self._mine.held.pop(redis_id, None)
        self._mine.room.set()
        with contextlib.suppress(redis.RedisError):  # the consumer thread finds out too, and tells it when it is back
            self._tell()

    def _tell(self) -> None:
        """Tell the server of messages that are done with."""
        with self._mine.telling:
            for waiting, tell in ((self._mine.done, self._forget), (self._mine.aside, self._put_aside)):
                if ids := [*waiting]:
                    tell(ids)
                    waiting.difference_update(ids)

    def _forget(self, ids: list[str]) -> None:
        self._script["ack"](keys=[self._acks, self._bodies], args=ids)

    def _put_aside(self, ids: list[str] | list[bytes]) -> None:
        self._script["set_aside"](keys=[self._acks, self._bodies, self._aside, self._aside_bodies], args=ids)

    def _give_back(self, more: Iterable[str] = ()) -> None:
        back = [self._mine.back.popleft() for _ in range(len(self._mine.back))]
        self._hand_back([*back, *more])

    def _hand_back(self, ids: list[str]) -> None:
        if ids:
            keys = [self._list, self._bodies, self._acks, self._broker.wake_channel(self._queue)]
            self._script["hand_back"](keys=keys, args=ids)
            for redis_id in ids:
                self._mine.held.pop(redis_id, None)

    def _wait(self) -> None:
        """Until something was enqueued or is due, there is room again, or `timeout` is over."""
        if self._is_full():
            self._mine.room.clear()
            if self._is_full():
                self._mine.room.wait(self._patience())
        elif self._wake.get_message(timeout=self._until_due()) is not None:
            while self._wake.get_message(timeout=0) is not None:  # one look serves all announcements so far
                pass

    def _is_full(self) -> bool:
        return len(self._mine.held) >= self._prefetch

    def _until_due(self) -> float:
        dues = [due for due in [*self._mine.held.values()] if due is not None] if self._delayed else []
        if not dues:
            return self._patience()
        return min(self._patience(), max(0.001, (min(dues) - current_millis()) / 1000))

    def _patience(self) -> float:
        return runs.stop_signal.patience(self._timeout_s)


def _read(body: bytes, queue: str) -> Message[Any]:
    """The message in a body as the fetch gives it. Raises DecodeError."""
    if body[:1] == b"\0" and body[1:].isdigit():
        raise DecodeError("too long", body, encoder.TooLong(int(body[1:])))
    return encoder.read(body, queue)


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """Turns redis-py's errors into the one of Dramatiq's that its worker knows how to live through.

    All of them: its TimeoutError is no ConnectionError, and a server that is loading its data, out of memory or disk,
    or a read-only replica answers with a ResponseError.
    """
    try:
        yield
    except redis.DataError:  # what we wanted to send is nothing that can be sent: no outage, a mistake
        raise
    except redis.RedisError as error:
        raise ConnectionClosed(error) from None
