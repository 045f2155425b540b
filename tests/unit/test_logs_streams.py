"""Prints become events."""

from __future__ import annotations

import contextlib
import io
import threading
from itertools import pairwise
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmesh_actors.logs import redact
from cloudmesh_actors.logs.encode import bound
from cloudmesh_actors.logs.streams import PROGRESS_INTERVAL_S, PrintStream

MAX_LINE = 20


class Console:
    """A stream and the events it made."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.contexts: list[dict[str, Any]] = []
        self.stream = PrintStream("stdout", 1, self._emit, clock=lambda: self.now, max_line=MAX_LINE)

    def _emit(self, text: str, fields: dict[str, Any]) -> None:
        self.events.append((text, fields))
        self.contexts.append(bound())

    @property
    def texts(self) -> list[str]:
        return [text for text, _fields in self.events]


@pytest.fixture
def console() -> Console:
    return Console()


def _chunks(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[one:other] for one, other in pairwise(places)]


@settings(deadline=None)
@given(
    text=st.text(st.sampled_from("ab\n\r\u00fc\ud800") | st.characters(), max_size=120),
    cuts=st.lists(st.integers(0, 1000), max_size=20),
)
def test_the_events_do_not_depend_on_how_the_text_was_cut(text: str, cuts: list[int]) -> None:
    whole, pieces = Console(), Console()

    whole.stream.write(text)
    whole.stream.finish()
    for chunk in _chunks(text, cuts):
        pieces.stream.write(chunk)
    pieces.stream.finish()

    assert pieces.events == whole.events


@settings(deadline=None)
@given(
    text=st.text(st.sampled_from("ab\nü€😀") | st.characters(exclude_categories=["Cs"]), max_size=60),
    cuts=st.lists(st.integers(0, 1000), max_size=20),
)
def test_nor_for_bytes(text: str, cuts: list[int]) -> None:
    whole, pieces = Console(), Console()
    data = text.encode().decode("latin-1")

    whole.stream.write(text)
    whole.stream.finish()
    for chunk in _chunks(data, cuts):
        pieces.stream.buffer.write(chunk.encode("latin-1"))
    pieces.stream.finish()

    assert pieces.events == whole.events


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1, max_size=70)))
def test_nothing_is_lost(lines: list[str]) -> None:
    console = Console()

    for line in lines:
        print(line, file=console.stream)

    printed = "".join(text + ("" if fields.get("more") else "\n") for text, fields in console.events)
    assert printed == "".join(f"{line}\n" for line in lines)


def test_a_print_is_an_event(console: Console) -> None:
    print("a", 1, file=console.stream)
    print(file=console.stream)
    console.stream.writelines(["b\n", "c"])

    assert console.events == [("a 1", {}), ("b", {})]


def test_a_line_without_newline_is_logged_at_the_end_of_the_task_with_its_task(console: Console) -> None:
    with structlog.contextvars.bound_contextvars(job_id="first"):
        console.stream.write("no newline")
    console.stream.flush()
    assert console.events == []

    console.stream.finish()
    console.stream.finish()

    assert console.events == [("no newline", {})]
    assert console.contexts == [{"job_id": "first"}]


def test_a_long_line_comes_in_parts(console: Console) -> None:
    console.stream.write("x" * (2 * MAX_LINE + 5))
    assert [fields for _text, fields in console.events] == [{"part": 1, "more": True}, {"part": 2, "more": True}]

    console.stream.write("y\nz\n")

    assert console.events[2:] == [("xxxxxy", {"part": 3}), ("z", {})]


@settings(deadline=None)
@given(st.integers(0, 40), st.lists(st.integers(0, 100), max_size=6))
def test_a_long_line_is_not_cut_within_a_secret(before: int, cuts: list[int]) -> None:
    redact.register("correct horse")
    console = Console()

    for chunk in _chunks("x" * before + "correct horse" + "y" * 40, cuts):
        console.stream.write(chunk)
    console.stream.finish()

    assert any("correct horse" in text for text in console.texts)


def test_of_a_progress_bar_the_last_state_is_logged_and_one_now_and_then(console: Console) -> None:
    for second in range(25):
        console.now = float(second)
        console.stream.write(f"\r{second} s")
    console.stream.write("\rdone\r\n")

    assert console.events == [
        ("9 s", {"progress": True}),
        ("19 s", {"progress": True}),
        ("done", {}),
    ]
    assert PROGRESS_INTERVAL_S == 10


def test_threads_do_not_mix_their_lines(console: Console) -> None:
    barrier = threading.Barrier(4)

    def task(name: str) -> None:
        barrier.wait()
        for number in range(200):
            for part in (name, " ", str(number), "\n"):
                console.stream.write(part)
        console.stream.write(f"{name} ends")

    threads = [threading.Thread(target=task, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = [f"{name} {rest}" for name in "abcd" for rest in [*range(200), "ends"]]
    assert sorted(console.texts) == sorted(expected)


def test_at_exit_every_threads_line_is_logged(console: Console) -> None:
    written, leave = threading.Event(), threading.Event()

    def task() -> None:
        console.stream.write("still running")
        written.set()
        leave.wait(10)

    thread = threading.Thread(target=task)
    thread.start()
    written.wait(10)
    console.stream.finish_all()
    leave.set()
    thread.join()

    assert console.texts == ["still running"]


def test_a_forked_child_leaves_the_unfinished_to_its_parent(console: Console) -> None:
    console.stream.write("of the parent")
    console.stream.forked()
    console.stream.write("of the child\n")

    assert console.texts == ["of the child"]


def test_junk_is_shown_as_junk(console: Console) -> None:
    console.stream.buffer.write(b"\xff\xfe\n\xe2\x82")
    console.stream.buffer.write(b"\xac\n\xe2")
    console.stream.finish()

    assert console.texts == ["\\xff\\xfe", "\u20ac", "\\xe2"]


def test_it_is_a_text_stream_but_no_terminal(console: Console) -> None:
    stream = console.stream

    assert (stream.fileno(), stream.isatty(), stream.writable(), stream.readable()) == (1, False, True, False)
    assert (stream.encoding, stream.errors, stream.name) == ("utf-8", "backslashreplace", "<stdout>")
    assert stream.buffer.fileno() == 1
    with pytest.raises(TypeError):
        stream.write(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(io.UnsupportedOperation):
        stream.detach()
    with contextlib.redirect_stdout(stream):
        print("redirected")
    stream.reconfigure(line_buffering=True)
    stream.close()
    print("still open", file=stream)
    assert console.texts == ["redirected", "still open"]
