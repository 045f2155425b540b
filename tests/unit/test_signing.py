"""Signatures of messages: what they cover, which keys are accepted, and what a key file has to be like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from dramatiq.errors import DecodeError
from dramatiq.message import Message, get_encoder, set_encoder
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors import settings
from cloudmesh_actors.broker import encoder as module
from cloudmesh_actors.broker import signing
from cloudmesh_actors.broker.encoder import StrictEncoder, TooLong
from cloudmesh_actors.broker.signing import Keys, NotSigned
from cloudmesh_actors.errors import ArgumentError, SettingsError
from cloudmesh_actors.secret import Secret

NEW, OLD, OTHER = (Secret(letter * 40) for letter in "abc")
GOOD: dict[str, Any] = {
    "queue_name": "rack", "actor_name": "rack.events", "args": ["i001"], "kwargs": {}, "options": {"eta": 12},
    "message_id": "m", "message_timestamp": 1,
}  # fmt: skip
SIGNED = StrictEncoder(Keys(NEW)).encode(GOOD)


@pytest.fixture(autouse=True)
def own_encoder() -> Iterator[None]:
    """What a test makes the encoder of this process is no other test's."""
    before = get_encoder()
    yield
    set_encoder(before)


def test_a_signed_message_comes_back_as_it_went() -> None:
    assert StrictEncoder(Keys(NEW)).decode(SIGNED) == GOOD
    assert SIGNED.startswith(b"cm1:")


def test_during_a_rotation_both_keys_are_accepted_and_the_new_one_signs() -> None:
    both = StrictEncoder(Keys(NEW, OLD))

    assert both.decode(StrictEncoder(Keys(OLD)).encode(GOOD)) == GOOD
    assert both.encode(GOOD) == SIGNED
    with pytest.raises(NotSigned, match="changed, or signed with another key"):
        both.decode(StrictEncoder(Keys(OTHER, NEW)).encode(GOOD))


def test_without_a_signature_it_is_refused_only_where_there_is_a_key() -> None:
    plain = StrictEncoder().encode(GOOD)
    with pytest.raises(NotSigned, match="it is not signed"):
        StrictEncoder(Keys(NEW)).decode(plain)

    assert StrictEncoder().decode(plain) == GOOD
    assert StrictEncoder().decode(SIGNED) == GOOD  # senders may begin first


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(at: int, by: int) -> None:
    changed = bytearray(SIGNED)
    changed[at] ^= by
    with pytest.raises(NotSigned):
        StrictEncoder(Keys(NEW)).decode(bytes(changed))


@given(st.integers(0, len(SIGNED) - 1))
def test_nor_cut_off(length: int) -> None:
    with pytest.raises(NotSigned):
        StrictEncoder(Keys(NEW)).decode(SIGNED[:length])


@pytest.mark.parametrize("head", [b"cm1:\n", b"cm1:" + b"g" * 64 + b"\n", b"cm1:" + b"\xff" * 64 + b"\n", b"cm2:", b""])
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(NotSigned):
        StrictEncoder(Keys(NEW)).decode(head + orjson.dumps(GOOD))


def test_a_message_in_another_queue_than_its_own_is_refused() -> None:
    set_encoder(StrictEncoder(Keys(NEW)))
    assert module.read(SIGNED, "rack").message_id == "m"
    for queue in ("rain", "rack.DQ"):
        with pytest.raises(DecodeError) as caught:
            module.read(SIGNED, queue)
        assert str(caught.value.error) == "it was sent to the queue 'rack'"


def test_delayed_copies_and_retries_are_signed_anew() -> None:
    set_encoder(StrictEncoder(Keys(NEW)))
    message: Message[Any] = Message.decode(SIGNED)
    delayed = message.copy(queue_name="rack.DQ", options={"eta": 99}).encode()

    assert module.read(delayed, "rack.DQ").options["eta"] == 99
    assert delayed[: signing.HEAD] != SIGNED[: signing.HEAD]


def test_the_longest_message_is_a_setting_of_sender_and_receiver() -> None:
    small, large = StrictEncoder(Keys(NEW), 1000), StrictEncoder(Keys(NEW), 100_000)
    long = {**GOOD, "args": ["x" * 950]}

    with pytest.raises(ArgumentError, match=r"its arguments take 1,\d\d\d bytes, 1,000 at most"):
        small.encode(long)
    with pytest.raises(TooLong, match=r"1,\d\d\d bytes are too many"):
        small.decode(large.encode(long))


def key_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_keys_come_from_files_that_only_their_owner_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signing.keys(settings.read()) is None
    monkeypatch.setenv("CLOUDMESH_SIGNING_KEY_FILE", key_file(tmp_path, "a" * 40 + "\n"))
    keys = signing.keys(settings.read())
    assert keys is not None
    assert StrictEncoder(keys).encode(GOOD) == SIGNED
    assert "aaaa" not in repr(vars(settings.read()))


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("a" * 40, 0o644, "is open to others than its owner"),
        ("", 0o600, "is empty"),
        ("a" * 31, 0o600, "is shorter than 32 characters"),
        ("a" * 40 + "\nb\n", 0o600, "more than one line"),
    ],
)
def test_a_key_file_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, sentence: str
) -> None:
    monkeypatch.setenv("CLOUDMESH_SIGNING_KEY_FILE", key_file(tmp_path, text, mode))
    with pytest.raises(SettingsError, match=f"^CLOUDMESH_SIGNING_KEY_FILE: .*{sentence}"):
        signing.keys(settings.read())


def test_an_old_key_alone_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_SIGNING_OLD_KEY_FILE", key_file(tmp_path, "a" * 40))
    with pytest.raises(SettingsError, match="CLOUDMESH_SIGNING_OLD_KEY_FILE is set, but"):
        settings.read()
