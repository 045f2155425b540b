"""What people see: tables that fit, nodes that are alike told once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cloudmesh_actors.cli import jobviews, nodeviews, output, rackstore, rackviews
from cloudmesh_actors.jobs import Death, Job, NodeOutcome, Progress, State
from cloudmesh_actors.rack.model import Point

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def printed(*parts: Any, color: bool = False) -> str:
    """The parts as a terminal of 80 columns has them, without the blanks at the ends of lines."""
    out = StringIO()
    kind = "standard" if color else None
    console = Console(file=out, width=80, markup=False, highlight=False, force_terminal=color, color_system=kind)
    for part in parts:
        console.print(part)
    lines = out.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines)


def reading(name: str, value: float | None, unit: str, state: str = "ok") -> dict[str, Any]:
    return {"name": name, "kind": "other", "value": value, "unit": unit, "state": state, "thresholds": {}}


def good(node: str, **fields: Any) -> dict[str, Any]:
    return {"node": node, "ok": True, "error": None, "error_kind": None, **fields}


def bad(node: str, error: str, **fields: Any) -> dict[str, Any]:
    return {"node": node, "ok": False, "error": error, "error_kind": "unreachable", **fields}


def job(**fields: Any) -> Job:
    blank = dict.fromkeys(Job.__dataclass_fields__)
    usual = {"id": "0123456789ab", "actor": "rack.power", "queue": "rack", "state": State.DONE, "runs": 1,
             "enqueued_at": NOON, "args": ["i[001-004]", "off"], "kwargs": {}}  # fmt: skip
    return Job(**{**blank, **usual, **fields})


def outcome(node: str, ok: bool | None, error: str | None = None) -> NodeOutcome:
    return NodeOutcome(node, ok, None, error, None, None, NOON.timestamp())


def test_sensors_of_nodes_that_read_the_same_are_told_once_values_to_the_right() -> None:
    same = [reading("Inlet Temp", 25.0, "C"), reading("FAN 1", None, "RPM", "no reading")]
    entries = [
        good("i001", readings=same),
        good("i002", readings=same),
        good("i003", readings=[reading("12V", 12.125, "V", "warning")]),
        good("i004", readings=[]),
        bad("i005", "i005: the BMC at 127.1.0.5:623 does not answer.", readings=[]),
    ]

    assert printed(*rackviews.sensors(entries)) == (
        "node        sensor       value  unit  state\n"
        "i[001-002]  Inlet Temp      25  °C    ok\n"
        "            FAN 1            -        no reading\n"
        "i003        12V         12.125  V     warning\n"
        "i004        no sensors\n"
        "i005: the BMC at 127.1.0.5:623 does not answer."
    )


def test_states_are_coloured() -> None:
    shown = printed(
        *(output.state(word) for word in ("ok", "warning", "critical", "no reading", "strange")), color=True
    )

    assert shown.splitlines() == [
        "\x1b[32mok\x1b[0m",
        "\x1b[33mwarning\x1b[0m",
        "\x1b[1;31mcritical\x1b[0m",
        "\x1b[2mno reading\x1b[0m",
        "strange",
    ]


def test_the_hottest_sensor_is_in_its_unit() -> None:
    entries = [good("i001", sensor="CPU1", value=145.4, unit="F", state="ok")]

    assert printed(*rackviews.temperature(entries)).splitlines()[1] == "i001  CPU1    145.4  °F    ok"


def test_power_has_notes_only_when_it_was_switched() -> None:
    status = [good("i001", power="on"), good("i002", power="off"), good("i003", power="on")]
    switched = [good("i001", power="off", note="switched off")]

    assert printed(*rackviews.power(status)) == "node        power\ni[001,003]  on\ni002        off"
    assert printed(*rackviews.power(switched)).splitlines()[1] == "i001  off    switched off"


def test_events_have_the_time_of_the_bmc_or_none() -> None:
    event = {"id": 1, "time": "2025-03-01T12:00:00+00:00", "sensor": "Fan", "text": "failed", "severity": "critical",
             "asserted": True, "raw": ""}  # fmt: skip
    entries = [good("i001", events=[event, {**event, "time": None, "asserted": False}]), good("i002", events=[])]

    assert printed(*rackviews.events(entries)).splitlines()[1:] == [
        "i001  2025-03-01 12:00:00  critical  Fan     failed",
        "      -                    critical  Fan     failed (over)",
        "i002  no events",
    ]


def test_errors_that_differ_in_node_and_address_alone_are_told_once() -> None:
    entries = [
        bad("i001", "i001: the BMC at 127.1.0.1:623 does not answer."),
        bad("i002", "i002: the BMC at [fe80::2]:623 does not answer."),
        bad("i003", "i003: the BMC at 127.1.0.3:623 refuses the password."),
        bad("i004", "the site has no BMC for i004"),
        bad("i005", "the site has no BMC for i005"),
    ]

    assert [line.plain for line in nodeviews.error_lines(entries)] == [
        "i[001-002]: the BMC does not answer.",
        "i003: the BMC at 127.1.0.3:623 refuses the password.",
        "i[004-005]: the site has no BMC for it",
    ]


def test_an_actor_without_a_table_has_its_fields_shown() -> None:
    entries = [good("i001", profile="hpc"), good("i002", profile="hpc"), bad("i003", "i003: no.")]

    assert printed(*rackviews.view("other.actor", entries)) == "i[001-002]  ok=True profile=hpc\ni003: no."


def test_long_node_sets_and_names_stay_within_80_columns() -> None:
    nodes = [f"i{number:03}" for number in range(1, 200, 2)]
    entries = [
        good(node, sensor="A sensor with a name", value=1234567.0, unit="widgets", state="no reading") for node in nodes
    ]

    shown = printed(*rackviews.temperature(entries))

    assert max(map(len, shown.splitlines())) <= 80
    assert "".join(line[:24].strip() for line in shown.splitlines()[1:]).startswith("i[001,003,005,")


def test_what_a_bmc_names_its_sensors_cannot_steer_the_terminal() -> None:
    shown = printed(*rackviews.sensors([good("i001", readings=[reading("\x1b[2Jfan\x07", 1.0, "[red]")])]))

    assert "\x1b" not in shown
    assert "\\x07" in shown
    assert "[red]" in shown


def test_jobs_are_a_table_of_80_columns_with_cut_errors() -> None:
    jobs = [
        job(worker="rack", started_at=NOON, ended_at=NOON + timedelta(seconds=5), progress=Progress(64, 64)),
        job(id="failed-one", state=State.FAILED, actor="provisioner.provision", worker="p1@node17", error="x" * 200),
        job(id="queued-one", state=State.QUEUED, enqueued_at=NOON - timedelta(days=40)),
        job(id="running-one", state=State.RUNNING, started_at=NOON, progress=Progress(3, 1000)),
    ]

    lines = printed(jobviews.listing(jobs, {"0123456789ab": (60, 4)}, NOON + timedelta(minutes=12))).splitlines()

    assert max(map(len, lines)) <= 80
    assert len(lines) == 5
    assert lines[1].split()[2:] == ["done", "64/64", "rack", "12:00", "m", "5.0", "s", "4", "failed"]
    assert "xx…" in lines[2]
    assert "40 d" in lines[3]
    assert "3/1000" in lines[4]


def test_a_job_is_told_with_its_nodes_folded_by_error_and_what_to_do() -> None:
    whole = job(state=State.FAILED, error="Too hot.", traceback="Traceback\n  boom", retry_of="earlier",
                kwargs={"unit": "F"}, sender="me@here", started_at=NOON, ended_at=NOON)  # fmt: skip
    outcomes = [outcome("i001", True), outcome("i002", True), outcome("i003", None),
                outcome("i004", False, "i004: no."), outcome("i005", False, "i005: no.")]  # fmt: skip

    deaths = [Death("step", "rack", 2, NOON.timestamp())]
    shown = printed(*jobviews.details(whole, outcomes, deaths, NOON))

    assert "run 2, begun 2025-" in shown
    assert "ended with the death of rack" in shown

    assert '["i[001-004]", "off"]' in shown
    assert "\n  unit     F\n" in shown
    assert "retry of   earlier" in shown
    assert "by me@here" in shown
    assert "ok      i[001-002] (2)\nopen    i003 (1)\nfailed  i[004-005]: no.\n" in shown
    assert "traceback\nTraceback\n  boom\n" in shown
    assert shown.endswith("try it again: cm-actors retry 01234567; its log: cm-actors logs --job 01234567")


def test_the_json_of_a_job_has_the_documented_keys_and_times_with_z() -> None:
    shape = jobviews.as_object(job(progress=Progress(1, 2, "i001"), started_at=NOON))

    assert {"id", "actor", "queue", "state", "runs", "worker", "enqueued_at", "started_at", "ended_at", "progress",
            "error"} <= shape.keys()  # fmt: skip
    assert shape["enqueued_at"] == "2025-03-01T12:00:00Z"
    assert shape["ended_at"] is None
    assert shape["progress"] == {"done": 1, "total": 2, "note": "i001"}


def test_json_takes_numbers_of_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json([2**70, "é"])

    assert json.loads(capsys.readouterr().out) == [2**70, "é"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (59, "59 s"), (725, "12:05 m"), (11_220, "3:07 h"), (12 * 86_400, "12 d")],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert output.duration(seconds) == words


def point(minute: int, value: float | None) -> Point:
    return Point(NOON + timedelta(minutes=minute), value, value, value)


def test_a_curve_goes_from_the_lowest_bar_to_the_highest_with_gaps() -> None:
    points = [point(0, 10.0), point(1, None), point(2, 17.0), point(3, 13.0)]

    assert rackstore.curve(points) == "▁ █▄"
    assert rackstore.curve([point(0, 5.0), point(1, 5.0)]) == "▁▁"


def test_many_points_are_put_together_with_their_extremes() -> None:
    points = [point(minute, None if minute < 5 else float(minute)) for minute in range(100)]

    few = rackstore.squeezed(points, 10)

    assert len(few) == 10
    assert (few[0].value, few[0].low, few[0].high) == (7.0, 5.0, 9.0)
    assert [entry.time for entry in few] == [NOON + timedelta(minutes=10 * part) for part in range(10)]
    assert rackstore.squeezed(points[:5], 2)[0].value is None
