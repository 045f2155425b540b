"""Single values as the printers of PBS write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cloudmesh_actors.pbs import values

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:30:00", 5400),
        ("72:30:05", 261005),
        ("71582788:15:00", 257698037700),  # what Slurm's wrapper makes of no limit
        ("1:12:30:00", 131400),
        ("3-01:00:00", 262800),
        ("30:00", 1800),
        ("3600", 3600),
        ("00:00:07.25", 7),
        ("1:2:3", 3723),
        ("00:00:00", 0),
        ("Infinite", None),
        ("UNLIMITED", None),
        ("", None),
        (None, None),
    ],
)
def test_durations_are_seconds(text: str | None, seconds: int | None) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["soon", "1:2:3:4:5", "-1:00:00", "12:34:5x", ":", "::", "1h", "9" * 30, "9" * 30 + ":00:00"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|too large"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("6452kb", 6452 * 1024),
        ("2gb", 2 * GIB),
        ("2GB", 2 * GIB),
        ("1.5gb", 3 * GIB // 2),
        ("16g", 16 * GIB),
        ("4000mb", 4000 * 1024**2),
        ("1024", 1024),
        ("0b", 0),
        ("2mw", 16 * 1024**2),
        ("1tb", 1024 * GIB),
        ("--", None),
        (None, None),
    ],
)
def test_sizes_are_bytes(text: str | None, bytes_: int | None) -> None:
    assert values.size(text) == bytes_


@pytest.mark.parametrize("text", ["big", "kb", "1zb", "-1kb", "1 2kb", "9" * 30 + "kb"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size|too large"):
        values.size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795350692", 1795350692),
        ("Sun Nov 22 12:31:32 2026", 1795350692),
        ("Thu Jan  1 00:00:05 1970", 5),
        ("Tue Feb 29 23:59:60 2028", 1835481600),
        ("0", None),
        ("UNKNOWN", None),
        (None, None),
    ],
)
def test_times_are_seconds_since_the_epoch(text: str | None, seconds: int | None) -> None:
    assert values.moment(text, UTC) == seconds


def test_text_is_read_in_the_time_zone_of_the_server() -> None:
    zone = ZoneInfo("America/Indiana/Indianapolis")

    assert values.moment("Fri Jan  2 03:04:05 2026", zone) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone).timestamp()
    assert values.moment("Thu Jul  2 03:04:05 2026", zone) == datetime(2026, 7, 2, 3, 4, 5, tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    "text",
    ["yesterday", "Sun Nov 22 12:31 2026", "Sun Feb 30 12:31:32 2026", "Sun Nix 22 12:31:32 2026",
     "Sun Nov 22 12-31-32 2026", "Sun Nov 22 25:31:32 2026", "253402300800", "9" * 40],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|must be|out of range"):
        values.moment(text, UTC)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("i1/0", [("i1", 1)]),
        ("i1/0+i1/1", [("i1", 2)]),
        ("i1/0+i2/0+i1/1", [("i1", 2), ("i2", 1)]),
        ("i1/5-6", [("i1", 2)]),
        ("i1/0-2,5", [("i1", 4)]),
        ("i1/0-2,5+i2/1", [("i1", 4), ("i2", 1)]),
        ("i136/0*2", [("i136", 2)]),
        ("i136/9*4+i136/10+i136/11", [("i136", 6)]),
        ("i136/0*0", [("i136", 0)]),
        ("(i1/0+i1/1)", [("i1", 2)]),
        ("(i136/0*2)+(i137/0*2)", [("i136", 2), ("i137", 2)]),
        ("(i1:ncpus=2)", [("i1", 2)]),
        ("(i1:ncpus=2:mem=20971520kb)+(i2:mem=1gb:ncpus=4)", [("i1", 2), ("i2", 4)]),
        ("(i1:ncpus=1+i2:ncpus=1)", [("i1", 1), ("i2", 1)]),
        ("(i1[0]:ncpus=2:ngpus=1)", [("i1[0]", 2)]),
        ("login.example.org:15002/0*3", [("login.example.org", 3)]),
        ("d001-ib.example.org/11", [("d001-ib.example.org", 1)]),
        ("i1+i2", [("i1", 1), ("i2", 1)]),
    ],
)
def test_every_form_of_exec_host_gives_hosts_and_slots(text: str, held: list[tuple[str, int]]) -> None:
    assert values.hosts(text) == held


def test_slurms_wrapper_writes_how_many_not_which() -> None:
    assert values.hosts("i1/4+i2/4", counted=True) == [("i1", 4), ("i2", 4)]


@pytest.mark.parametrize(
    "text", ["", "+", "/0", "i1/", "i1/x", "i1/6-5", "i1/0*", "i1/0+", "i1/0,,1", "i1/0*" + "9" * 30]
)
def test_what_is_no_exec_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no host|is not a slot|backwards|too large"):
        values.hosts(text)


def test_a_range_of_any_length_costs_nothing() -> None:
    assert values.hosts("i1/0-999999999999") == [("i1", 10**12)]


@pytest.mark.parametrize(
    ("request_", "processors"),
    [
        ("1", 1),
        ("2:ppn=3", 6),
        ("1:ppn=2+1:compute:ppn=1", 3),
        ("d001i:ppn=2", 2),
        ("4:ppn=8#shared", 32),
        ("i1+i2", 2),
    ],
)
def test_a_node_request_says_how_many_processors(request_: str, processors: int) -> None:
    assert values.processors_asked(request_) == processors


@pytest.mark.parametrize(("text", "number"), [("271", 271), ("-11", -11), ("", None), (None, None)])
def test_whole_numbers_have_a_sign(text: str | None, number: int | None) -> None:
    assert values.whole(text) == number


@pytest.mark.parametrize("text", ["1.5", "one", "9" * 20])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        values.whole(text)
