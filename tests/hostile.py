"""Messages that nobody should run: malformed, tampered, oversize and foreign ones; the same ones for a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import orjson
from brokers import RabbitmqServer, RedisServer, Server

from cloudmesh_actors.broker.signing import HEAD, Keys
from cloudmesh_actors.secret import Secret

KEY = "the key of the fleet, 32 characters or more"

#: What the setting is in these tests, so that thousands of messages beyond it fit into a small broker.
MAX_BYTES = 20_000

fleet, stranger = Keys(Secret(KEY)), Keys(Secret("somebody else's key, which is as long as that"))


def fields(dice: random.Random, **changes: Any) -> dict[str, Any]:
    good = {
        "queue_name": "rack", "actor_name": "rack.add", "args": [1, 2], "kwargs": {}, "options": {},
        "message_id": str(UUID(int=dice.getrandbits(128), version=4)), "message_timestamp": 1_700_000_000_000,
    }  # fmt: skip
    return {**good, **changes}


def signed(dice: random.Random, **changes: Any) -> bytes:
    return fleet.sign(orjson.dumps(fields(dice, **changes)))


def noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(200))


def misshapen(dice: random.Random) -> bytes:
    wrong: list[Any] = [[], None, 7, {"args": []}, fields(dice, options=[]), fields(dice, args={})]
    wrong += [
        fields(dice, more=1),
        fields(dice, message_id=None),
        fields(dice, actor_name="a" * 200),
        fields(dice, queue_name=7),
    ]
    return fleet.sign(orjson.dumps(dice.choice(wrong)))


def deep(dice: random.Random) -> bytes:
    return fleet.sign(b"[" * dice.randrange(2_000, 10_000))


def cut_off(dice: random.Random) -> bytes:
    whole = signed(dice)
    return whole[: dice.randrange(len(whole))]


def flipped(dice: random.Random) -> bytes:
    body = bytearray(signed(dice))
    body[dice.randrange(len(body))] ^= dice.randrange(1, 256)
    return bytes(body)


def other_arguments(dice: random.Random) -> bytes:
    return signed(dice)[:HEAD] + orjson.dumps(fields(dice, args=[3, 4]))


def moved(dice: random.Random) -> bytes:
    return signed(dice, queue_name=dice.choice(["rain", "rack.DQ", "launcher", "nowhere"]))


def unsigned(dice: random.Random) -> bytes:
    return orjson.dumps(fields(dice))


def of_another_key(dice: random.Random) -> bytes:
    return stranger.sign(orjson.dumps(fields(dice)))


def oversize(dice: random.Random) -> bytes:
    return signed(dice, args=["x" * dice.randrange(MAX_BYTES, 2 * MAX_BYTES)])


def of_celery(dice: random.Random) -> bytes:
    task = {"task": "tasks.add", "id": str(dice.random()), "args": [1, 2], "kwargs": {}, "retries": 0, "eta": None}
    return json.dumps(task).encode()


def of_no_actor(dice: random.Random) -> bytes:
    return signed(dice, actor_name="rack.nobody")


def misfit(dice: random.Random) -> bytes:
    return signed(dice, args=["one", {}])


KINDS: list[Callable[[random.Random], bytes]] = [
    noise, misshapen, deep, cut_off, flipped, other_arguments, moved, unsigned, of_another_key, oversize, of_celery,
    of_no_actor, misfit,
]  # fmt: skip


def bodies(count: int, seed: int) -> list[bytes]:
    """So many of them, of every kind in turn."""
    dice = random.Random(seed)
    return [KINDS[number % len(KINDS)](dice) for number in range(count)]


def publish(server: Server, them: Iterable[bytes], queue: str = "rack") -> None:
    """Put them into a queue, over one connection."""
    if isinstance(server, RedisServer):
        with server.client() as client, client.pipeline(transaction=False) as pipe:
            for body in them:
                name = random.randbytes(16).hex()
                pipe.hset(f"dramatiq:{queue}.msgs", name, body)
                pipe.rpush(f"dramatiq:{queue}", name)
            pipe.execute()
    elif isinstance(server, RabbitmqServer):
        with server.channel() as channel:
            for body in them:
                channel.basic_publish("", queue, body)
    else:
        for body in them:
            server.publish(body, queue)
