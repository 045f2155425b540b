"""One writer of a log file: rotation, full disks, files that others took away."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmesh_actors.logs import writer
from cloudmesh_actors.logs.encode import Encoder
from cloudmesh_actors.logs.writer import LogFile, numbered


class Bench:
    """A log file on a clock that stands still unless moved."""

    def __init__(
        self, path: Path, max_bytes: int = 1000, backups: int = 3, append: Callable[[int, bytes], int] = os.write
    ) -> None:
        self.path, self.now = path, 100.0
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.file = LogFile(self.fd, path, max_bytes=max_bytes, backups=backups, append=append, clock=lambda: self.now)
        self.file.report = self._report

    def _report(self, event: str, fields: dict[str, Any]) -> None:
        self.reports.append((event, fields))
        self.file.write(b"report\n")

    def everything(self) -> bytes:
        files = [numbered(self.path, number) for number in range(20, 0, -1)]
        return b"".join(file.read_bytes() for file in [*files, self.path] if file.exists())


@pytest.fixture(params=[os.write, writer.write_keeping_turn], ids=["letting others in", "keeping its turn"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(tmp_path / "rack.log", append=request.param)
    yield bench
    os.close(bench.fd)


def _line(number: int, size: int = 100) -> bytes:
    return f"{number:0{size - 1}d}\n".encode()


def test_a_full_log_is_rotated_and_as_many_as_wanted_are_kept(bench: Bench) -> None:
    for number in range(55):
        bench.file.write(_line(number))

    assert bench.path.read_bytes() == b"".join(map(_line, range(50, 55)))
    assert numbered(bench.path, 1).read_bytes() == b"".join(map(_line, range(40, 50)))
    assert numbered(bench.path, 3).read_bytes() == b"".join(map(_line, range(20, 30)))
    assert not numbered(bench.path, 4).exists()
    assert sorted(path.name for path in bench.path.parent.iterdir()) == [
        *("rack.log", "rack.log.1", "rack.log.2", "rack.log.3"),
    ]


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), max_size=60), max_bytes=st.integers(1, 1000))
def test_nothing_is_lost_and_no_file_grows_beyond_its_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int
) -> None:
    bench = Bench(tmp_path_factory.mktemp("logs") / "l1.log", max_bytes, backups=99)
    lines = [b"x" * (size - 1) + b"\n" for size in sizes]

    for line in lines:
        bench.file.write(line)
    os.close(bench.fd)

    files = [path.read_bytes() for path in bench.path.parent.iterdir()]
    assert sum(map(len, files)) == sum(sizes)
    assert all(len(content) <= max_bytes or content.count(b"\n") == 1 for content in files)


def test_a_rotated_file_is_as_private_as_the_log(bench: Bench) -> None:
    for number in range(11):
        bench.file.write(_line(number))

    assert numbered(bench.path, 1).stat().st_mode & 0o777 == 0o600


def test_without_backups_the_log_begins_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "l1.log", backups=0)
    for number in range(11):
        bench.file.write(_line(number))
    os.close(bench.fd)

    assert bench.everything() == _line(10)


def test_eight_threads_lose_no_line_and_tear_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "rack.log", max_bytes=60_000, backups=1000)
    encoder = Encoder({"worker": "rack"})

    def write(thread: int) -> None:
        for number in range(1000):
            bench.file.write(encoder.line("info", "x" * (number % 100), {"thread": thread, "number": number}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(bench.fd)

    files = list(tmp_path.iterdir())
    events = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert len(files) > 10
    assert sorted((event["thread"], event["number"]) for event in events) == [
        (thread, number) for thread in range(8) for number in range(1000)
    ]


def test_raw_output_counts_too(bench: Bench) -> None:
    bench.file.write(b"first\n")
    os.write(bench.fd, b"r" * 2000 + b"\n")
    bench.file.write(b"second\n")
    assert not numbered(bench.path, 1).exists()

    bench.now += writer.LOOK_INTERVAL_S
    bench.file.write(b"third\n")

    assert bench.path.read_bytes() == b"third\n"
    assert numbered(bench.path, 1).stat().st_size == 2014


def test_what_is_appended_during_the_copy_is_copied_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shift = writer._shift

    def raw_output_meanwhile(path: Path, backups: int) -> None:
        os.write(bench.fd, b"from C\n")
        shift(path, backups)

    monkeypatch.setattr(writer, "_shift", raw_output_meanwhile)
    for number in range(11):
        bench.file.write(_line(number))

    assert bench.everything() == b"".join(map(_line, range(10))) + b"from C\n" + _line(10)


def test_a_log_that_was_removed_begins_anew_at_its_place(bench: Bench) -> None:
    bench.file.write(b"first\n")
    bench.path.unlink()
    bench.file.write(b"lost to the unlinked file\n")
    bench.now += writer.LOOK_INTERVAL_S
    bench.file.write(b"second\n")

    assert bench.path.read_bytes() == b"second\n"


def test_a_log_that_was_moved_is_not_emptied(bench: Bench) -> None:
    bench.file.write(b"first\n")
    moved = bench.path.rename(bench.path.with_name("rack.old"))
    bench.path.write_bytes(b"of somebody else\n")
    for number in range(11):
        bench.file.write(_line(number))

    assert moved.read_bytes().startswith(b"first\n")
    assert bench.path.read_bytes().startswith(b"of somebody else\n")
    assert bench.everything().count(b"\n") + moved.read_bytes().count(b"\n") == 13


def test_a_rotation_that_fails_is_reported_once_and_tried_again_later(bench: Bench) -> None:
    obstacle = bench.path.with_name("rack.log.tmp")
    obstacle.mkdir()
    for number in range(25):
        bench.file.write(_line(number))
    assert [event for event, _fields in bench.reports] == ["log rotation failed"]
    assert bench.file.troubles.rotations_failed == 1

    bench.now += writer.RETRY_INTERVAL_S
    bench.file.write(_line(25))
    assert (len(bench.reports), bench.file.troubles.rotations_failed) == (1, 2)

    obstacle.rmdir()
    bench.now += writer.RETRY_INTERVAL_S
    bench.file.write(_line(26))
    assert bench.path.read_bytes() == _line(26)
    assert bench.everything().replace(b"report\n", b"") == b"".join(map(_line, range(27)))


def test_on_a_full_disk_nothing_raises_and_the_loss_is_counted() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    file = LogFile(fd)
    file.report = lambda event, fields: pytest.fail("there is no room to say so")

    file.write(b"lost\n")
    file.write(b"lost too\n")
    os.close(fd)

    assert file.troubles.lines_lost == 2
    assert file.troubles.last_error == "No space left on device"


def test_when_there_is_room_again_the_loss_is_reported_once(bench: Bench) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    bench.file.fd = full
    for _ in range(3):
        bench.file.write(b"lost\n")
    bench.file.fd = bench.fd
    bench.file.write(b"written\n")
    bench.file.write(b"written\n")
    os.close(full)

    assert bench.reports == [("log lines lost", {"lines": 3, "error": "No space left on device"})]
    assert bench.path.read_bytes() == b"written\nreport\nwritten\n"


def test_a_forked_child_writes_but_does_not_rotate(bench: Bench) -> None:
    bench.file.forked()
    for number in range(25):
        bench.file.write(_line(number))

    assert bench.path.read_bytes() == b"".join(map(_line, range(25)))
