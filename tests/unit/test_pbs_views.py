"""How batch jobs, queues and nodes are shown."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

import pytest
from pbs_fakes import NOON, job, node, queue, running
from rich.console import Console

from cloudmesh_actors.cli import pbsstore, pbsviews
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState
from cloudmesh_actors.pbs.records import ClusterJob, ClusterNode, ClusterQueue, ServerState, Usage


def of(kind: type, record: BatchJob | BatchQueue | BatchNode, cluster: str | None = "india", **more: Any) -> Any:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return kind(**values, server="torque1", cluster=cluster, **more)


def lines(parts: list[Any], width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None, markup=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def server(**changes: Any) -> ServerState:
    values: dict[str, Any] = {
        "server": "torque1", "snapshot": 1, "dialect": "slurm", "age": 42.0, "error": None, "error_kind": None,
        "jobs": 0, "queues": 0, "nodes": 0, "damaged": 0, "damages": (),
    }  # fmt: skip
    return ServerState(**values | changes)


def test_a_jobs_nodes_are_a_set_or_how_many_it_wants() -> None:
    rows = [
        of(ClusterJob, running(1, "i001", "i002", "i003", walltime_used=5400)),
        of(ClusterJob, job(2, node_count=64, owner="bob", state=JobState.HELD), cluster=None),
    ]

    assert lines(pbsviews.jobs(rows, True)) == [
        "job user cluster queue state time nodes",
        "1 alice india batch running 1:30:00 i[001-003]",
        "2 bob unmapped batch held - 64 nodes wanted",
    ]
    assert "unmapped" not in "".join(lines(pbsviews.jobs(rows, False)))


def test_ids_keep_their_server_when_there_are_several() -> None:
    rows = [of(ClusterJob, job(1)), of(ClusterJob, job(1, id="1.torque2"))]

    assert [line.split()[0] for line in lines(pbsviews.jobs(rows, False))[1:]] == ["1.torque1", "1.torque2"]


def test_a_table_of_anything_fits_eighty_columns() -> None:
    long = "x" * 300
    hosts = [f"i{number:03}" for number in range(1, 400, 2)]
    rows = [of(ClusterJob, running(1, *hosts, id=long, owner=long, queue=long), cluster=long)]
    queues = [of(ClusterQueue, queue(long, limits={"resources_max.walltime": long}), cluster=long, jobs={"R": 10**9})]
    nodes = [of(ClusterNode, node(name), cluster=long) for name in hosts]

    console = Console(width=80, color_system=None, markup=False)
    with console.capture() as captured:
        for part in [*pbsviews.jobs(rows, True), *pbsviews.queues(queues, True), *pbsviews.nodes(nodes, True)]:
            console.print(part)
    assert max(map(len, captured.get().splitlines())) <= 80


def test_what_is_more_than_a_table_shows_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbsviews, "SHOWN_ROWS", 2)

    shown = lines(pbsviews.jobs([of(ClusterJob, job(number)) for number in range(5)], False))
    assert len(shown) == 4
    assert shown[-1] == "and 3 batch jobs more, which --json has"


def test_queues_count_what_is_not_over() -> None:
    counts = {"R": 2, "Q": 3, "H": 1, "S": 1, "C": 50}

    assert lines(pbsviews.queues([of(ClusterQueue, queue("batch"), jobs=counts)], True)) == [
        "queue cluster state jobs running queued held other walltime",
        "batch india open 7 2 3 1 1 24:00:00",
    ]


@pytest.mark.parametrize(
    ("enabled", "started", "word"),
    [(True, True, "open"), (True, False, "stopped"), (False, True, "draining"), (False, False, "closed")],
)
def test_the_state_of_a_queue_is_a_word(enabled: bool, started: bool, word: str) -> None:
    assert pbsviews.queue_state(of(ClusterQueue, queue("q", enabled=enabled, started=started), jobs={})) == word


def test_nodes_that_are_alike_are_one_line() -> None:
    rows = [
        *(of(ClusterNode, node(f"i{number:03}", load=number, jobs=["7", f"1{number}"])) for number in (1, 2, 3)),
        of(ClusterNode, node("i004", "down", "offline", load=None, slots=None)),
        of(ClusterNode, node("x1", jobs=["1", "2"]), cluster=None),
    ]

    assert lines(pbsviews.nodes(rows, True)) == [
        "nodes cluster count slots jobs load state",
        "i[001-003] india 3 8 4 2.00 free",
        "i004 india 1 - 0 - down, offline",
        "x1 unmapped 1 8 2 0.50 free",
    ]


def test_vnodes_are_no_node_set() -> None:
    assert pbsviews.folded(["i001[0]", "i001[1]"]) == "i001[0],i001[1]"


def test_users() -> None:
    assert lines(pbsviews.users([Usage("alice", 1200, 3, 4, 96, 12)], True))[1:] == ["alice 1,200 3 4 96 12"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, "torque1: 42 s old"),
        ({"error": "torque1: nobody answers."}, "torque1: nobody answers; what is stored is 42 s old."),
        ({"error": "no key.", "snapshot": None, "age": None}, "torque1: no key; nothing is stored."),
        ({"snapshot": None, "age": None}, "torque1 was never asked; `cm-actors pbs refresh` asks it."),
    ],
)
def test_the_footer_tells_age_and_error(state: dict[str, Any], told: str) -> None:
    assert [text.plain for text in pbsviews.footer([server(**state)])] == [told]


def test_a_site_without_batch_servers_is_told_of() -> None:
    assert lines(list(pbsviews.footer([]))) == ["the site has no batch servers"]


def test_the_footer_tells_of_damaged_records() -> None:
    damage = "job 2 (line 7): it has no state"

    told = [text.plain for text in pbsviews.footer([server(damaged=2, damages=(damage, "more"))])]
    assert told[1] == f"torque1: 2 records could not be read, such as {damage}"


def test_json_has_times_as_iso_and_places_by_name() -> None:
    shown = pbsstore.as_object(of(ClusterJob, running(1, "i001")))

    assert datetime.fromisoformat(shown["started"]).timestamp() == NOON
    assert shown["nodes"] == [{"host": "i001", "slots": 4}]
    assert "attributes" not in shown
    assert pbsstore.as_object(of(ClusterNode, node("i1", "free", "busy")))["states"] == ["busy", "free"]


def test_json_has_whether_a_queue_is_started_as_yes_or_no() -> None:
    shown = pbsstore.as_object(of(ClusterQueue, queue("batch", started=False), jobs={}))

    assert (shown["enabled"], shown["started"]) == (True, False)


def test_nothing_is_said_to_be_nothing() -> None:
    views = (pbsviews.jobs, pbsviews.queues, pbsviews.nodes, pbsviews.users)

    assert all(lines(view([], True))[0].startswith("no batch") for view in views)
