"""What the store keeps of readings, on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import postgresql
import pytest

from cloudmesh_actors.rack import records
from cloudmesh_actors.store import Store

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
TODAY = NOW.replace(hour=0, minute=0)

#: The hours of a day in which readings are made.
HOURS = (0, 7, 14)


TABLES = (records.latest_readings, records.layouts, records.samples, records.days)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Store]:
    with postgresql.server() as url:
        store = Store(url, check_schema=False)
        store.upgrade()
        yield store
        store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path}/store.db")
        yield store
        store.close()
        return
    store = request.getfixturevalue("postgres")
    with store.write() as connection:
        for table in TABLES:
            connection.execute(table.delete())
    yield store


def readings(temperature: float | None, **more: float) -> list[dict[str, Any]]:
    cpu = {"name": "CPU1 Temp", "kind": "temperature", "value": temperature, "unit": "C", "state": "ok"}
    return [cpu, *({"name": n, "kind": "other", "value": v, "unit": "", "state": "ok"} for n, v in more.items())]


def well(node: str, temperature: float | None, **more: float) -> dict[str, Any]:
    return {"node": node, "ok": True, "error": None, "error_kind": None, "readings": readings(temperature, **more)}


def ill(node: str) -> dict[str, Any]:
    return {"node": node, "ok": False, "error": f"{node}: silent.", "error_kind": "unreachable", "readings": []}


def temperatures(store: Store, node: str = "i001", days: int = 400) -> list[tuple[datetime, float | None]]:
    found = records.history(node, "CPU1 Temp", NOW - timedelta(days=days), NOW + timedelta(days=1), store)
    return [(point.time, point.value) for point in found]


class TestLatest:
    def test_it_is_what_was_read_last(self, store: Store) -> None:
        records.remember([well("i001", 40.0), ill("i002")], NOW, store)
        records.remember([well("i001", 41.0)], NOW + timedelta(minutes=5), store)

        assert records.latest(of=store) == [
            {**well("i001", 41.0), "time": "2026-03-10T15:35:00.000Z"},
            {**ill("i002"), "time": "2026-03-10T15:30:00.000Z"},
        ]

    def test_an_error_takes_the_place_of_readings(self, store: Store) -> None:
        records.remember([well("i001", 40.0)], NOW, store)
        records.remember([ill("i001")], NOW + timedelta(minutes=5), store)

        [entry] = records.latest(["i001"], store)
        assert (entry["ok"], entry["error"], entry["readings"]) == (False, "i001: silent.", [])

    def test_an_older_reading_that_comes_late_does_not(self, store: Store) -> None:
        records.remember([well("i001", 41.0)], NOW, store)
        records.remember([well("i001", 20.0)], NOW - timedelta(minutes=5), store)

        [entry] = records.latest(["i001"], store)
        assert entry["readings"][0]["value"] == 41.0

    def test_nodes_come_in_the_order_asked_for_and_strangers_not_at_all(self, store: Store) -> None:
        records.remember([well(f"i{n:04}", 40.0) for n in range(1200)], NOW, store)
        names = [f"i{n:04}" for n in reversed(range(1200))]

        assert [entry["node"] for entry in records.latest(["nobody", *names], store)] == names

    def test_nothing_to_remember_is_no_matter(self, store: Store) -> None:
        records.remember([], NOW, store)

        assert records.latest(of=store) == []


class TestHistory:
    def test_every_reading_is_there_oldest_first(self, store: Store) -> None:
        for minute in (10, 0, 5):
            records.remember([well("i001", 40.0 + minute)], NOW + timedelta(minutes=minute), store)

        assert temperatures(store) == [(NOW + timedelta(minutes=m), 40.0 + m) for m in (0, 5, 10)]

    def test_an_error_is_a_gap_and_no_reading_is_a_point_without_value(self, store: Store) -> None:
        records.remember([ill("i001")], NOW, store)
        records.remember([well("i001", None)], NOW + timedelta(minutes=5), store)

        assert temperatures(store) == [(NOW + timedelta(minutes=5), None)]

    def test_sensors_may_come_and_go(self, store: Store) -> None:
        records.remember([well("i001", 40.0)], NOW, store)
        records.remember([well("i001", 41.0, Fan=1.0)], NOW + timedelta(minutes=5), store)

        assert len(temperatures(store)) == 2
        assert [p.value for p in records.history("i001", "Fan", NOW, NOW + timedelta(days=1), store)] == [1.0]
        assert [column.name for column in records.sensors_of("i001", store)] == ["CPU1 Temp", "Fan"]
        assert records.sensors_of("nobody", store) == ()

    def test_it_begins_with_since_and_ends_before_until(self, store: Store) -> None:
        for minute in range(4):
            records.remember([well("i001", minute)], NOW + timedelta(minutes=minute), store)

        points = records.history("i001", "CPU1 Temp", NOW + timedelta(minutes=1), NOW + timedelta(minutes=3), store)
        assert [point.value for point in points] == [1.0, 2.0]


class TestPruning:
    @staticmethod
    def fill(store: Store, days: int, nodes: int = 1) -> None:
        for day, hour, minute in product(range(days), HOURS, (0, 30)):
            at = TODAY - timedelta(days=day) + timedelta(hours=hour, minutes=minute)
            records.remember([well(f"i{n:03}", 40.0 + minute, Volts=12.0) for n in range(nodes)], at, store)

    def test_old_days_become_hours(self, store: Store) -> None:
        self.fill(store, days=5)
        records.prune(NOW, keep_days=365, of=store)

        first_full_day = TODAY - timedelta(days=records.FULL_DAYS)
        points = temperatures(store, "i000")
        old = [(at, value) for at, value in points if at < first_full_day]
        assert {value for _, value in old} == {55.0}
        assert len({at for at, _ in old}) == len(old)
        assert len(points) - len(old) == 2 * len(HOURS) * (records.FULL_DAYS + 1)
        assert len(old) == len(HOURS)
        lows = records.history("i000", "CPU1 Temp", NOW - timedelta(days=5), first_full_day, store)
        assert {(point.low, point.high) for point in lows} == {(40.0, 70.0)}

    def test_the_means_of_all_sensors_are_kept(self, store: Store) -> None:
        self.fill(store, days=5)
        records.prune(NOW, keep_days=365, of=store)

        volts = records.history("i000", "Volts", NOW - timedelta(days=6), NOW, store)
        assert {point.value for point in volts} == {12.0}

    def test_a_second_time_changes_nothing(self, store: Store) -> None:
        self.fill(store, days=5)
        records.prune(NOW, keep_days=365, of=store)
        before = temperatures(store, "i000")
        records.prune(NOW, keep_days=365, of=store)

        assert temperatures(store, "i000") == before

    @pytest.mark.parametrize("keep", [1, 2, 4])
    def test_what_is_older_than_is_kept_is_forgotten(self, store: Store, keep: int) -> None:
        self.fill(store, days=5)
        records.remember([well("gone", 1.0)], NOW - timedelta(days=keep + 1), store)
        records.prune(NOW, keep_days=keep, of=store)

        assert min(at for at, _ in temperatures(store, "i000")) == TODAY - timedelta(days=keep)
        assert records.latest(["gone"], store) == []

    def test_many_processes_may_do_it_while_others_write(self, store: Store) -> None:
        self.fill(store, days=5, nodes=3)
        expected = {node: count_of_hours(temperatures(store, node)) for node in ("i000", "i001", "i002")}

        def write(turn: int) -> None:
            records.remember([well(f"w{n:02}", turn) for n in range(20)], NOW + timedelta(seconds=turn), store)

        with ThreadPoolExecutor(12) as pool:
            pruning = [pool.submit(records.prune, NOW, keep_days=365, of=store) for _ in range(4)]
            writing = [pool.submit(write, turn) for turn in range(25)]
            for task in [*pruning, *writing]:
                task.result()

        assert {node: count_of_hours(temperatures(store, node)) for node in expected} == expected
        assert len(temperatures(store, "w00")) == 25


def count_of_hours(points: list[tuple[datetime, float | None]]) -> int:
    return len({math.floor(at.timestamp() / 3600) for at, _ in points})
