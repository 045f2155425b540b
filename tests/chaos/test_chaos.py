"""A short run of chaos on both brokers, and the arithmetic behind its counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from brokers import Server

from chaos import report, running
from chaos.found import Found
from chaos.scenarios import SCENARIOS
from chaos.told import Hit, Line, Told

SEED = random.randrange(10**6)


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_while_workers_and_the_broker_are_killed(
    main_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {SEED}")
    monkeypatch.setenv("CHAOS_HEARTBEAT_TIMEOUT_MS", "3000")

    found = running.run("short", SCENARIOS["short"], main_server, SEED)

    assert found.wrong == []
    assert (found.lost, found.doubled, found.left, found.orphans, found.stale) == (0, 0, 0, 0, 0)
    assert found.taken == SCENARIOS["short"].messages


def told(*lines: Line, commands: dict[str, int] | None = None) -> Told:
    it = Told()
    for line in lines:
        it.by_work[line.work].append(line)
    it.commands.update(commands or {})
    return it


def test_a_work_without_an_effect_is_lost_and_one_with_two_is_doubled() -> None:
    it = told(
        Line("b", "plain-1", 7, 1.0), Line("e", "plain-2", 7, 1.0), Line("e", "plain-3", 7, 1.0),
        Line("e", "plain-3", 8, 2.0), commands={"switch-4": 2, "switch-5": 1, "leased-6": 0},
    )  # fmt: skip
    works = ["plain-1", "plain-2", "plain-3", "switch-4", "switch-5", "leased-6"]

    assert it.lost(works) == ["plain-1", "leased-6"]
    assert it.again(works, once=True) == 1
    assert it.again(works, once=False) == 1


def test_the_time_to_recover_is_from_the_kill_until_what_ran_there_runs_again() -> None:
    it = told(
        Line("b", "plain-1", 7, 10.0), Line("b", "plain-1", 8, 13.0), Line("e", "plain-1", 8, 14.0),  # ran at the kill
        Line("b", "plain-2", 7, 10.0), Line("e", "plain-2", 7, 10.5), Line("z", "plain-2", 7, 10.5),  # was over
        Line("b", "switch-3", 7, 10.0), Line("e", "switch-3", 7, 10.2), Line("b", "switch-3", 9, 12.0),
    )  # fmt: skip
    kill = Hit("rack", 7, 11.0, "SIGKILL")

    assert sorted(it.recoveries([kill])) == [1.0, 2.0]


def test_two_at_one_node_are_found() -> None:
    assert told(Line("!", "leased-1", 7, 1.0)).forbidden() == 1


def test_a_row_replaces_the_one_of_the_same_scenario_and_broker_and_leaves_the_others(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")

    report.write([Found("kills", "valkey", lost=1), Found("sigterm", "valkey")], page)
    report.write([Found("kills", "valkey", lost=0), Found("kills", "valkey", "PostgreSQL")], page)

    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and " valkey" in line]
    assert len(rows) == 3
    assert [row.split("|")[4].strip() for row in rows] == ["0", "0", "0"]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
