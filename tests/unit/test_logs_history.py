"""Reading logs back: merged, filtered, backwards, and on through rotations."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmesh_actors.logs import history, reader
from cloudmesh_actors.logs.encode import utc
from cloudmesh_actors.logs.history import Logs, Wanted
from cloudmesh_actors.logs.reader import Cursor, Entry
from cloudmesh_actors.logs.writer import numbered, rotate

START = 1_700_000_000 * 10**9
EVERYTHING = Wanted()


def _line(second: float, event: str = "x", **fields: Any) -> bytes:
    stamp = utc(START + int(second * 1e9))
    return orjson.dumps({"timestamp": stamp, "level": "info", "event": event, **fields}) + b"\n"


def _shown(entries: Iterator[Entry] | list[Entry]) -> list[str]:
    return [str(entry.event["event"]) if entry.event else f"raw {entry.line.strip().decode()}" for entry in entries]


class Done(Exception):
    """Ends a follow."""


def _followed(logs: Logs, *steps: Any, wanted: Wanted = EVERYTHING) -> list[str]:
    """What `follow` shows when the steps are taken one by one whenever it waits."""
    waiting = iter(steps)

    def sleep(_seconds: float) -> None:
        step = next(waiting, None)
        if step is None:
            raise Done
        step()

    logs._sleep = sleep
    found: list[Entry] = []
    with pytest.raises(Done):
        for entry in logs.follow(wanted):
            found.append(entry)  # noqa: PERF402 - the loop ends by an exception
    return _shown(found)


def _append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def _rotate(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    rotate(fd, path, 3)
    os.close(fd)


def test_the_logs_of_workers_are_merged_by_time(tmp_path: Path) -> None:
    _append(tmp_path / "l1.log", _line(1, "a"), _line(4, "d"), _line(5, "e"))
    _append(tmp_path / "rack.log", _line(2, "b"), _line(3, "c"), _line(6, "f"))
    (tmp_path / "rack.pid").write_text("1")

    logs = Logs(tmp_path)

    assert _shown(logs.all(EVERYTHING)) == list("abcdef")
    assert _shown(logs.last(3, EVERYTHING)) == list("def")
    assert _shown(logs.last(0, EVERYTHING)) == []
    assert _shown(Logs(tmp_path, ["l*"]).all(EVERYTHING)) == list("ade")
    assert [entry.worker for entry in Logs(tmp_path, ["rack"]).last(1, EVERYTHING)] == ["rack"]


def test_rotated_files_are_read_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "l1.log"
    for number in range(1, 12):
        _append(numbered(path, number), _line(20 - number, str(number)))
    _append(path, _line(30, "now"))

    expected = [*map(str, range(11, 0, -1)), "now"]
    assert _shown(Logs(tmp_path).all(EVERYTHING)) == expected
    assert _shown(Logs(tmp_path).last(100, EVERYTHING)) == expected
    assert reader.names(tmp_path) == ["l1"]


def test_no_directory_is_no_logs(tmp_path: Path) -> None:
    assert _shown(Logs(tmp_path / "none").all(EVERYTHING)) == []
    assert _shown(Logs(tmp_path / "none").last(5, EVERYTHING)) == []


def test_raw_output_keeps_its_place(tmp_path: Path) -> None:
    _append(tmp_path / "l1.log", b"before all\n", _line(1, "a"), b"from C\n", b"no newline" + _line(3, "c"), b"\n\0\n")
    _append(tmp_path / "rack.log", _line(2, "b"), b"Fatal Python error\n\xff\n")

    expected = ["raw before all", "a", "raw from C", "raw no newline", "b", "c"]
    found = list(Logs(tmp_path).all(EVERYTHING))
    assert _shown(found[:4]) == expected[:4]
    assert sorted(_shown(Logs(tmp_path, ["l1"]).all(EVERYTHING))) == sorted(set(expected) - {"b"})
    assert found[-1].event or found[-1].line == b"\xff\n"
    backwards = Logs(tmp_path, ["l1"]).last(100, EVERYTHING)
    assert backwards[-1].event is not None
    assert backwards[-2].line == b"no newline"


def test_a_log_without_any_event_is_as_old_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "l1.log").write_text("Traceback\nImportError\n")
    os.utime(tmp_path / "l1.log", (START / 1e9 + 2, START / 1e9 + 2))
    _append(tmp_path / "rack.log", _line(1, "a"), _line(3, "b"))

    expected = ["a", "raw Traceback", "raw ImportError", "b"]
    assert _shown(Logs(tmp_path).all(EVERYTHING)) == expected
    assert _shown(Logs(tmp_path).last(3, EVERYTHING)) == expected[1:]


def test_torn_lines_and_broken_bytes_are_shown(tmp_path: Path) -> None:
    torn = _line(1, "torn")[:40]
    _append(
        tmp_path / "l1.log",
        torn + _line(2, "after"),
        b'{"timestamp":"2023',
        b'-11-14T22:13:23.000000Z","event":"\xff"}\n',
    )
    _append(tmp_path / "l1.log", _line(4, "end")[:30])

    shown = _shown(Logs(tmp_path).all(EVERYTHING))

    assert shown == [f"raw {torn.decode()}", "after", "\ufffd", f"raw {_line(4, 'end')[:30].decode()}"]
    assert _shown(Logs(tmp_path).all(EVERYTHING, torn=False)) == shown[:3]
    assert _shown(Logs(tmp_path).last(9, EVERYTHING)) == shown
    assert _shown(Logs(tmp_path).last(9, EVERYTHING, torn=False)) == shown[:3]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"", b"raw\n", b"a\rb\n", b"{}\n", b'{"timestamp":1}\n', b"r" * 300 + b"\n"]), max_size=30
    ),
    st.integers(1, 64),
)
def test_backwards_is_forwards_reversed(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], chunk: int
) -> None:
    content = b"".join(piece or _line(number) for number, piece in enumerate(pieces))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "CHUNK", chunk)
        path = tmp_path_factory.mktemp("logs") / "l1.log"
        path.write_bytes(content)
        forwards = [entry.line.rstrip(b"\n") for entry in reader.forwards("l1", Cursor(path).lines(), "")]
        backwards = [entry.line for entry in reader.backwards("l1", reader.lines_before(path), "")]

    assert backwards[::-1] == forwards
    assert len(forwards) == len(pieces)


def test_a_line_longer_than_a_chunk_is_whole_and_a_monstrous_one_comes_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK", 64)
    monkeypatch.setattr(reader, "MAX_LINE", 1000)
    path = tmp_path / "l1.log"
    _append(path, _line(1, "y" * 500), b"z" * 5000 + b"\n", _line(2, "b"))

    for found in (list(Logs(tmp_path).all(EVERYTHING)), Logs(tmp_path).last(1000, EVERYTHING)):
        assert found[0].event is not None
        assert found[-1].event is not None
        assert sum(len(entry.line.rstrip(b"\n")) for entry in found if entry.event is None) == 5000
        assert max(len(entry.line) for entry in found) < 1200


def test_since_finds_its_place_in_a_big_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 512)
    path = tmp_path / "l1.log"
    _append(numbered(path, 2), _line(-9, "too old"))
    os.utime(numbered(path, 2), (START / 1e9 - 5, START / 1e9 - 5))
    _append(numbered(path, 1), *(_line(second, str(second)) for second in range(500)))
    _append(path, *(_line(second, str(second)) for second in range(500, 1000)))

    for since in (-3, 0, 123, 499, 500, 777.5, 999, 1000):
        wanted = Wanted(since=utc(START + int(since * 1e9)))
        expected = [str(second) for second in range(1000) if second >= since]
        assert _shown(Logs(tmp_path).all(wanted)) == expected
        assert _shown(Logs(tmp_path).last(2000, wanted)) == expected

    assert reader.offset_of(path, utc(START + 900 * 10**9)) > path.stat().st_size * 0.7


def test_entries_are_wanted_by_job_actor_and_level(tmp_path: Path) -> None:
    _append(
        tmp_path / "rack.log",
        _line(1, "a", job_id="abcdef", actor="rack.power"),
        _line(2, "b", job_id="abxxxx", actor="rack.read_sensors", note="abcdef rack.power"),
        _line(3, "c"),
        b"raw\n",
    )
    _append(tmp_path / "rack.log", _line(4, "d").replace(b'"info"', b'"error"'))
    logs = Logs(tmp_path)

    assert _shown(logs.all(Wanted(job="abc"))) == ["a"]
    assert _shown(logs.all(Wanted(job="ab"))) == ["a", "b"]
    assert _shown(logs.all(Wanted(actor="rack.power"))) == ["a"]
    assert _shown(logs.all(Wanted(actor="rack"))) == ["a", "b"]
    assert _shown(logs.all(Wanted(actor="rac"))) == []
    assert _shown(logs.all(Wanted(level="warning"))) == ["raw raw", "d"]
    assert _shown(logs.last(1, Wanted(job="ab"))) == ["b"]


def test_merging_reads_no_more_than_it_shows(tmp_path: Path) -> None:
    for name in ("l1", "l2"):
        _append(tmp_path / f"{name}.log", *(_line(second, "x" * 1000) for second in range(3000)))

    before = time.process_time()
    assert len(list(islice(Logs(tmp_path).all(EVERYTHING), 5))) == 5
    assert len(Logs(tmp_path).last(5, EVERYTHING)) == 5
    few = time.process_time() - before
    before = time.process_time()
    assert len(list(Logs(tmp_path).all(EVERYTHING))) == 6000

    assert few < (time.process_time() - before)


def test_following_shows_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "l1.log"
    _append(path, _line(1, "old"), _line(2, "half")[:20])
    logs = Logs(tmp_path)
    assert _shown(logs.last(10, EVERYTHING, torn=False)) == ["old"]

    shown = _followed(
        logs,
        lambda: _append(path, _line(2, "half")[20:], _line(4, "d")),
        lambda: _append(tmp_path / "new.log", _line(3, "of a new worker"), b"raw\n"),
        lambda: None,
        lambda: _append(path, _line(5, "e")),
    )

    assert shown == ["half", "d", "of a new worker", "raw raw", "e"]


def test_following_goes_on_after_everything_was_shown(tmp_path: Path) -> None:
    path = tmp_path / "l1.log"
    _append(numbered(path, 1), _line(0, "older"))
    _append(path, _line(1, "old"))
    logs = Logs(tmp_path)
    assert _shown(logs.all(EVERYTHING, torn=False)) == ["older", "old"]

    assert _followed(logs, lambda: _append(path, _line(2, "new"))) == ["new"]


@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_following_loses_nothing_when_the_log_is_rotated(tmp_path: Path, rotations: int) -> None:
    path = tmp_path / "l1.log"
    _append(path, _line(0, "seen"))
    logs = Logs(tmp_path)
    logs.last(1, EVERYTHING, torn=False)

    def write_and_rotate() -> None:
        for rotation in range(rotations):
            _append(path, *(_line(rotation + 1, f"{rotation} {number}") for number in range(5)))
            _rotate(path)
        _append(path, *(_line(rotations + 2, f"after {number} {'long' * 99}") for number in range(5)))

    shown = _followed(logs, write_and_rotate, lambda: _append(path, _line(99, "end")))

    expected = [f"{rotation} {number}" for rotation in range(rotations) for number in range(5)]
    assert shown == [*expected, *(f"after {number} {'long' * 99}" for number in range(5)), "end"]


def test_a_log_that_is_rotated_while_it_is_read_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 400)
    path = tmp_path / "l1.log"
    _append(numbered(path, 1), *(_line(second, str(second)) for second in range(20)))
    _append(path, *(_line(second, str(second)) for second in range(20, 60)))
    shown = []

    for count, entry in enumerate(Logs(tmp_path).all(EVERYTHING)):
        shown += _shown([entry])
        if count in {5, 30}:
            _rotate(path)
            _append(path, *(_line(100 * count + second, str(100 * count + second)) for second in range(2 * count)))

    assert shown[:60] == [str(second) for second in range(60)]
    assert shown[60:] == [str(100 * count + second) for count in (5, 30) for second in range(2 * count)]


def test_following_shows_a_log_that_was_removed_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "l1.log"
    _append(path, _line(0, "seen"))
    logs = Logs(tmp_path)
    logs.last(1, EVERYTHING, torn=False)

    shown = _followed(logs, path.unlink, lambda: _append(path, _line(2, "new"), _line(3, "newer")))

    assert shown == ["new", "newer"]


NOW = datetime(2025, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", "2025-03-01T10:50:00.000000Z"),
        ("1.5h", "2025-03-01T09:30:00.000000Z"),
        ("2 d", "2025-02-27T11:00:00.000000Z"),
        ("11:30", "2025-03-01T10:30:00.000000Z"),
        ("2025-02-01", "2025-01-31T23:00:00.000000Z"),
        ("2025-02-01T10:00:00Z", "2025-02-01T10:00:00.000000Z"),
    ],
)
def test_since_understands_ago_clock_and_date(text: str, expected: str) -> None:
    assert history.since(text, NOW) == expected


@pytest.mark.parametrize("text", ["soon", "10", "25:00", "10x", "-3m", "99999999999999w"])
def test_since_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; write 10m"):
        history.since(text, NOW.astimezone(UTC))
