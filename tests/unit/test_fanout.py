"""Many nodes at once: order, width, errors of single nodes, and stops in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from cloudmesh_actors import fanout
from cloudmesh_actors.errors import JobAborted, SiteError, Unreachable
from cloudmesh_actors.runs import HandedBack, Run

NODES = [f"n{number}" for number in range(8)]


class Observed(Run):
    """Remembers what it is told, and stops after so many nodes."""

    def __init__(self, stop_after: int = 10**6, reason: type[Exception] = JobAborted) -> None:
        self.told: dict[str, bool] = {}
        self.steps: list[tuple[int, int]] = []
        self.stop_after, self.reason = stop_after, reason

    def outcome(
        self, node: str, ok: bool, error: str | None = None, error_kind: str | None = None, data: Any = None
    ) -> None:
        self.told[node] = ok

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.steps.append((done, total))

    def checkpoint(self) -> None:
        if len(self.told) >= self.stop_after:
            raise self.reason("stop")


def upper(node: str) -> Mapping[str, Any]:
    return {"value": node.upper()}


def test_outcomes_come_in_the_order_of_the_nodes_whoever_ends_first() -> None:
    def work(node: str) -> Mapping[str, Any]:
        time.sleep(0.02 if node == "n0" else 0)
        return upper(node)

    outcomes = fanout.each(NODES, work, width=4, run=Run())

    assert [outcome["node"] for outcome in outcomes] == NODES
    assert outcomes[0] == {"node": "n0", "ok": True, "error": None, "error_kind": None, "value": "N0"}


def test_no_more_than_width_are_worked_on_at_once_and_so_many_are() -> None:
    gate, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=20)

    def work(node: str) -> Mapping[str, Any]:
        nonlocal now, most
        with gate:
            now += 1
            most = max(most, now)
        together.wait()
        with gate:
            now -= 1
        return {}

    fanout.each(NODES[:6], work, width=3, run=Run())

    assert most == 3


def test_no_nodes_are_no_work() -> None:
    assert fanout.each([], upper, width=4, run=Run()) == []


def test_a_node_that_is_named_twice_is_worked_on_once() -> None:
    run = Observed()
    outcomes = fanout.each(["a", "b", "a"], upper, width=4, run=run)

    assert [outcome["value"] for outcome in outcomes] == ["A", "B", "A"]
    assert run.steps[-1] == (2, 2)


def test_one_node_never_costs_the_others() -> None:
    def work(node: str) -> Mapping[str, Any]:
        match node:
            case "n1":
                raise Unreachable("n1: nothing answers at 127.0.0.1:623.")
            case "n2":
                raise SiteError("no BMC")
            case "n3":
                raise KeyError("sdr")
        return upper(node)

    run = Observed()
    with capture_logs() as logged:
        outcomes = fanout.each(NODES[:5], work, width=2, run=run)

    assert [(o["ok"], o["error_kind"]) for o in outcomes] == [
        (True, None), (False, "unreachable"), (False, "error"), (False, "bug"), (True, None),
    ]  # fmt: skip
    assert outcomes[1]["error"] == "n1: nothing answers at 127.0.0.1:623."
    assert outcomes[3]["error"].startswith("n3: a fault in this program (KeyError: 'sdr')")
    assert [line["exc_info"] for line in logged if "exc_info" in line] == [True]
    assert fanout.failed(outcomes) == ["n1", "n2", "n3"]
    assert run.told == {"n0": True, "n1": False, "n2": False, "n3": False, "n4": True}
    assert run.steps == [(n, 5) for n in range(1, 6)]


@pytest.mark.parametrize("reason", [JobAborted, HandedBack])
def test_a_stop_waits_for_what_has_begun_records_it_and_begins_nothing_more(reason: type[Exception]) -> None:
    begun: list[str] = []

    def work(node: str) -> Mapping[str, Any]:
        begun.append(node)
        time.sleep(0.2 if node == "n1" else 0)
        return {}

    run = Observed(stop_after=1, reason=reason)
    with pytest.raises(reason):
        fanout.each(NODES, work, width=2, run=run)

    assert set(run.told) == set(begun)
    assert "n1" in run.told
    assert len(begun) <= 3


@pytest.mark.parametrize("reason", [JobAborted, HandedBack])
def test_a_node_may_stop_at_a_safe_point_of_its_own(reason: type[Exception]) -> None:
    def work(node: str) -> Mapping[str, Any]:
        if node == "n1":
            raise reason("in mid-cycle")
        time.sleep(0.1)
        return {}

    run = Observed()
    with pytest.raises(reason):
        fanout.each(NODES[:3], work, width=3, run=run)

    assert run.told == {"n0": True, "n2": True}


def test_threads_of_nodes_see_the_run_and_the_keys_of_their_job() -> None:
    import structlog

    from cloudmesh_actors import runs

    run = Observed()
    runs.enter(run)
    structlog.contextvars.bind_contextvars(job_id="j1")
    try:
        outcomes = fanout.each(
            ["a"],
            lambda node: {"same": runs.current() is run, **structlog.contextvars.get_contextvars()},
            width=1,
            run=run,
        )
    finally:
        runs.leave()
        structlog.contextvars.clear_contextvars()

    assert (outcomes[0]["same"], outcomes[0]["job_id"]) == (True, "j1")
