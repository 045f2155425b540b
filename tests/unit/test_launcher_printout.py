"""The output of a script: by lines into the log, its beginning and end kept, nothing in it that does harm."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.launcher.printout import LOGGED_LINES, LONGEST_LINE, Printout
from cloudmesh_actors.logs import redact

TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[str] = []

    def info(self, event: str, **fields: Any) -> None:
        self.events.append(event)
        if "line" in fields:
            self.lines.append(fields["line"])


def steers(char: str) -> bool:
    """Whether a terminal may do more with it than show it: controls, other ends of lines, and turns of direction."""
    return char not in "\t\n" and (
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(char) in TURNS
    )


def printout(head: int = 40, tail: int = 40) -> tuple[Printout, Log]:
    log = Log()
    return Printout("i001", log=log, head=head, tail=tail), log


def test_lines_are_logged_as_they_come_whole() -> None:
    it, log = printout()

    it.take(b"one\ntw")
    assert log.lines == ["one"]
    it.take(b"o\nthree")
    assert log.lines == ["one", "two"]
    it.close()
    it.close()

    assert log.lines == ["one", "two", "three"]
    assert it.text() == "one\ntwo\nthree\n"
    assert it.last_line == "three"


def test_of_a_long_output_beginning_and_end_are_kept() -> None:
    it, _ = printout(head=16, tail=16)

    it.take(b"".join(b"line %02d\n" % n for n in range(10)))

    assert it.text() == "line 00\nline 01\n[...]\nline 08\nline 09\n"


def test_what_was_left_out_where_it_ran_is_marked_too() -> None:
    it, _ = printout(head=16, tail=40)

    it.take(b"first\nhalf a li")
    it.leave_out()
    it.take(b"ne\nlast\n")
    it.close()

    assert it.text() == "first\nhalf a li\n[...]\nne\nlast\n"


def test_the_log_is_not_flooded() -> None:
    it, log = printout()

    it.take(b"x\n" * (LOGGED_LINES + 100))

    assert len(log.lines) == LOGGED_LINES
    assert log.events.count("script.prints_more") == 1


def test_a_line_without_end_is_broken() -> None:
    it, log = printout(head=100_000)

    it.take(b"x" * (2 * LONGEST_LINE + 10))
    it.close()

    assert [len(line) for line in log.lines] == [LONGEST_LINE, LONGEST_LINE, 10]


def test_nothing_in_it_steers_a_terminal() -> None:
    it, log = printout(head=1000)

    it.take(b"\x1b[2J\x1b]0;title\x07red \x1b[31mtext\x1b[0m\x00 \x9b \xff 10%\r20%\r\n\xe2\x80\xae\n")

    assert all(line.isprintable() for line in log.lines)
    assert "red text" in log.lines[0]
    assert "10% 20%" in log.lines[0]


def test_secrets_are_struck_out() -> None:
    redact.register("hunter2-is-not-shown")
    it, _ = printout(head=1000)

    it.take(b"login with hunter2-is-not-shown\npassword=12345678\n")

    assert "hunter2" not in it.text()
    assert "12345678" not in it.text()


@given(st.lists(st.binary(max_size=80)), st.integers(0, 60), st.integers(1, 60))
def test_whatever_is_printed_what_is_kept_is_bounded_and_harmless(parts: list[bytes], head: int, tail: int) -> None:
    it, _ = printout(head, tail)

    for part in parts:
        it.take(part)
    it.close()

    text = it.text()
    assert [char for char in text if steers(char)] == []
    longest = max((len(line) for line in b"".join(parts).decode(errors="replace").split("\n")), default=0)
    assert len(text) <= head + tail + 6 * longest + len("[...]\n") + 2
