"""Messages that were set aside: listed, shown, sent again and dropped, on every broker.

A message is set aside when it cannot be run: it cannot be read, its signature is wrong, no worker knows its actor, its
arguments do not fit, or it killed its workers. Its step, when it is one, has failed for good. To send it again is
therefore a new job, whose `retry_of` is the old one.

The new job's id is made of the old step's, so that asking twice (also after a crash between the new message's coming
and the old one's going) gives two messages of one step, of which one runs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
import sqlalchemy as sa
from dramatiq.common import q_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import store
from cloudmesh_actors.broker import encoder, signing
from cloudmesh_actors.broker.aside import Fate, Stored
from cloudmesh_actors.broker.claims import COPY
from cloudmesh_actors.broker.recording import RECORDED
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.families import FAMILIES
from cloudmesh_actors.logs import redact
from cloudmesh_actors.steps import ENDED, steps

#: Options of the old message that are not the new one's: its place among steps, and what its runs left in it.
OF_THE_OLD = frozenset({"root", "parent", "retry_of", RECORDED, COPY, "retries", "requeue_timestamp", "traceback",
                        "eta", "redis_message_id"})  # fmt: skip

#: Ids that one query names at most: databases limit the number of parameters.
IDS_IN_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Aside:
    """A message that was set aside.

    `id` is the message's own if it can be trusted, else the broker's or a digest; `job` is the job that failed with it;
    `at` is seconds since the epoch; `trusted` says whether it may be sent again as it is. `body` is empty in lists, and
    when it is too long to be looked at.
    """

    id: str
    queue: str
    actor: str | None
    job: str | None
    at: float | None
    reason: str
    size: int
    trusted: bool
    body: bytes = field(default=b"", repr=False)
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are meant: those with one of the ids (or beginnings of ids), and all that fit the rest."""

    ids: tuple[str, ...] = ()
    queue: str = ""
    actor: str = ""
    matching: str = ""


@dataclass(frozen=True, slots=True)
class Requeued:
    """What was sent again: the ids of the new jobs by those of the messages. And what was not, with the reason."""

    jobs: dict[str, str]
    refused: dict[str, str]


def listing(queue: str = "", limit: int | None = None) -> list[Aside]:
    """Messages that were set aside, oldest first in each queue, at most `limit`.

    Raises:
        BrokerUnavailable, StoreUnavailable: one of them does not answer.
    """
    return select(Selection(queue=queue))[:limit]


def select(selection: Selection) -> list[Aside]:
    """The messages that are meant. Raises ArgumentError when an id is none, or several messages' ids begin with it."""
    found: list[tuple[_Seen, bool]] = []

    def look(stored: Stored) -> Fate:
        seen = _see(stored)
        if _fits(seen, selection):
            found.append((seen, selection.matching.encode() in stored.body))
        return Fate.KEPT

    for queue in [selection.queue] if selection.queue else FAMILIES:
        brokers.current().sift_aside(queue, look)
    rows = _rows([seen.id for seen, _ in found if seen.trusted])
    entries = [(_entry(seen, rows), in_body) for seen, in_body in found]
    chosen = [entry for entry, in_body in entries if in_body or selection.matching in entry.reason]
    _check_ids(selection.ids, chosen)
    return chosen


def get(message_id: str) -> Aside:
    """One message, with its body. Raises ArgumentError."""
    wanted = select(Selection(ids=(message_id,)))[0]
    bodies: list[Stored] = []

    def look(stored: Stored) -> Fate:
        if not bodies and _see(stored).id == wanted.id:
            bodies.append(stored)
        return Fate.KEPT

    brokers.current().sift_aside(wanted.queue, look)
    if not bodies:
        raise ArgumentError(f"No message {message_id!r} is set aside any more.")
    [stored] = bodies
    return _entry(_see(stored), _rows([wanted.id]), stored)


def drop(entries: Collection[Aside]) -> int:
    """Forget messages for good; how many there were. Their jobs stay failed."""
    broker = brokers.current()
    return sum(broker.sift_aside(queue, partial(_dropped, ids)) for queue, ids in _by_queue(entries).items())


def requeue(entries: Collection[Aside], *, force: bool = False) -> Requeued:
    """Send messages again, each as a new job.

    Args:
        force: also those whose signature is missing or wrong: the caller vouches for them. What has no fields of a
            message is never sent.

    Raises:
        BrokerUnavailable, StoreUnavailable: what is not done yet can be asked for again.
    """
    refused = {entry.id: entry.reason for entry in entries if not _may_be_sent(entry, force)}
    jobs: dict[str, str] = {}
    for queue, ids in _by_queue(entries).items():
        brokers.current().sift_aside(queue, partial(_sent_again, ids - refused.keys(), jobs))
    return Requeued(jobs, refused)


def _sent_again(ids: Collection[str], jobs: dict[str, str], stored: Stored) -> Fate | Message[Any]:
    seen = _see(stored)
    if seen.id not in ids or seen.message is None:
        return Fate.KEPT
    again = _again(seen.message, stored.queue)
    brokers.current().record_queued(again)
    jobs[seen.id] = again.message_id
    return again


def _dropped(ids: Collection[str], stored: Stored) -> Fate:
    return Fate.DROPPED if _see(stored).id in ids else Fate.KEPT


def readable(entry: Aside) -> str:
    """The body for people: its JSON, else its bytes with the unprintable ones escaped; secrets are struck out."""
    try:
        fields = orjson.loads(signing.unsigned(entry.body))
    except ValueError:
        return redact.text(repr(entry.body)[2:-1])
    shown = redact.by_value(redact.by_key({"body": fields}))["body"]
    return orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def headers(entry: Aside) -> dict[str, Any]:
    """The broker's headers as JSON; secrets are struck out."""
    plain = orjson.loads(orjson.dumps(entry.headers, default=str, option=orjson.OPT_NON_STR_KEYS))
    return redact.by_value(redact.by_key(plain))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a message says of itself."""

    id: str
    stored: Stored
    message: Message[Any] | None
    wrong: str

    @property
    def trusted(self) -> bool:
        return not self.wrong


def _see(stored: Stored) -> _Seen:
    message, wrong = _message(stored)
    if message is not None and not wrong:
        return _Seen(message.message_id, stored._replace(body=b""), message, wrong)
    # what is not trusted must not go by another message's id
    own = stored.key or "x" + hashlib.sha256(stored.body + str(stored.at).encode()).hexdigest()[:15]
    return _Seen(own, stored._replace(body=b""), message, wrong)


def _message(stored: Stored) -> tuple[Message[Any] | None, str]:
    """The message, as far as it can be read, and what is wrong with it."""
    if stored.size > encoder.longest():
        return None, str(encoder.TooLong(stored.size))
    try:
        message: Message[Any] = Message.decode(stored.body)
    except DecodeError as error:
        return _untrusted(stored.body), str(error.error)
    if q_name(message.queue_name) != stored.queue:
        return message, f"it was sent to the queue {message.queue_name!r}"
    return message, ""


def _untrusted(body: bytes) -> Message[Any] | None:
    try:
        return Message(**encoder.fields_of(signing.unsigned(body)))
    except (ValueError, TypeError):
        return None


def _fits(seen: _Seen, selection: Selection) -> bool:
    if selection.ids and not seen.id.startswith(selection.ids):
        return False
    return not selection.actor or (seen.message is not None and seen.message.actor_name == selection.actor)


def _entry(seen: _Seen, rows: dict[str, Any], whole: Stored | None = None) -> Aside:
    row = rows.get(seen.id)
    reason = seen.wrong or (row.error if row is not None else "") or "it could not be read when it came; now it can"
    return Aside(
        id=seen.id, queue=seen.stored.queue, actor=seen.message.actor_name if seen.message else None,
        job=row.root_id if row is not None else None, at=seen.stored.at, reason=redact.text(reason),
        size=seen.stored.size, trusted=seen.trusted, body=whole.body if whole else b"", headers=seen.stored.headers,
    )  # fmt: skip


def _rows(ids: Sequence[str]) -> dict[str, Any]:
    """The steps of these ids that ended: what is queued or running was not set aside itself, a copy of it was."""
    query = sa.select(steps.c.id, steps.c.root_id, steps.c.error).where(steps.c.state.in_([*ENDED]))
    found: dict[str, Any] = {}
    with store.current().read() as connection:
        for first in range(0, len(ids), IDS_IN_A_QUERY):
            part = ids[first : first + IDS_IN_A_QUERY]
            found.update({row.id: row for row in connection.execute(query.where(steps.c.id.in_(part)))})
    return found


def _check_ids(ids: Iterable[str], chosen: Sequence[Aside]) -> None:
    for wanted in ids:
        fitting = {entry.id for entry in chosen if entry.id.startswith(wanted)}
        if not fitting or not wanted:
            raise ArgumentError(f"No message {wanted!r} is set aside.")
        if len(fitting) > 1 and wanted not in fitting:
            raise ArgumentError(f"Several messages' ids begin with {wanted!r}.")


def _by_queue(entries: Iterable[Aside]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(entry.queue, set()).add(entry.id)
    return found


def _may_be_sent(entry: Aside, force: bool) -> bool:
    return entry.trusted or (force and entry.actor is not None)


def _again(message: Message[Any], queue: str) -> Message[Any]:
    """The message of a new job that does what the old step did not."""
    root, new_id = _place(message.message_id)
    options = {name: value for name, value in message.options.items() if name not in OF_THE_OLD}
    return Message(
        queue_name=queue, actor_name=message.actor_name, args=message.args, kwargs=message.kwargs,
        options={**options, "retry_of": root, RECORDED: True}, message_id=new_id,
        message_timestamp=int(time.time() * 1000),
    )  # fmt: skip


def _place(step_id: str) -> tuple[str, str]:
    """The job of a step, and the id of the step that repeats it: the first of its line that has not ended."""
    root, new_id = _rows_of(step_id)[0], step_id
    while True:
        new_id = str(uuid5(NAMESPACE_URL, f"cloudmesh-actors:requeued:{new_id}"))
        if not _rows_of(new_id)[1]:
            return root, new_id


def _rows_of(step_id: str) -> tuple[str, bool]:
    with store.current().read() as connection:
        row = connection.execute(sa.select(steps.c.root_id, steps.c.state).where(steps.c.id == step_id)).one_or_none()
    return (step_id, False) if row is None else (row.root_id, row.state in ENDED)
