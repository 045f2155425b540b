"""Batch jobs, queues, nodes and users as tables, and how old what they show is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cloudmesh_actors.cli import output
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.pbs.model import JobState, NodeState
from cloudmesh_actors.pbs.records import ClusterJob, ClusterNode, ClusterQueue, ServerState, Usage

#: What stands for a value that is not known; never a number.
NO_VALUE = "-"

#: What stands for the cluster of a queue or node that the site has in none.
UNMAPPED = "unmapped"

#: Lines of a table at most; the rest is counted.
SHOWN_ROWS = 1000

#: Columns of names are cut at this width.
NAME_WIDTH = 12

JOB_STYLES: Mapping[JobState, str] = {
    JobState.RUNNING: "cyan",
    JobState.BEGUN: "cyan",
    JobState.COMPLETED: "dim",
    JobState.FINISHED: "dim",
    JobState.QUEUED: "",
    JobState.HELD: "yellow",
    JobState.SUSPENDED: "yellow",
    JobState.WAITING: "yellow",
}

NODE_STYLES: Mapping[str, str] = {
    NodeState.FREE: "green",
    NodeState.DOWN: "bold red",
    NodeState.UNKNOWN: "bold red",
    NodeState.STALE: "bold red",
    NodeState.OFFLINE: "yellow",
    NodeState.OFFLINE_BY_MOM: "yellow",
    NodeState.DRAIN: "yellow",
    NodeState.DRAINING: "yellow",
    NodeState.MAINT: "yellow",
    NodeState.JOB_EXCLUSIVE: "cyan",
    NodeState.JOB_SHARING: "cyan",
    NodeState.JOB_BUSY: "cyan",
    NodeState.ALLOCATED: "cyan",
}

QUEUE_STYLES: Mapping[str, str] = {"open": "green", "draining": "yellow", "stopped": "yellow", "closed": "bold red"}

#: Letters of states with a column of their own.
_COLUMNS = (JobState.RUNNING, JobState.QUEUED, JobState.HELD)
_OVER = (JobState.COMPLETED, JobState.FINISHED, JobState.EXPIRED)


def jobs(rows: Sequence[ClusterJob], with_cluster: bool) -> list[Any]:
    """Batch jobs, a line each."""
    if not rows:
        return [output.text("no batch jobs", "dim")]
    made = _table(
        "job", "user", *_cluster_column(with_cluster), "queue", "state", "time", right=("time",), last="nodes"
    )
    short = _id_shortener(rows)
    for job in rows[:SHOWN_ROWS]:
        made.add_row(
            output.text(short(job), "bold"),
            output.text(job.owner),
            *_cluster_cell(job.cluster, with_cluster),
            output.text(job.queue),
            output.text(job.state.name.lower(), JOB_STYLES.get(job.state, "")),
            output.text(clock(job.walltime_used)),
            _places(job),
        )
    return [made, *_rest(len(rows), "batch job")]


def queues(rows: Sequence[ClusterQueue], with_cluster: bool) -> list[Any]:
    """Batch queues and how many jobs they have in which state; what is over is not counted."""
    if not rows:
        return [output.text("no batch queues", "dim")]
    numbers = ("jobs", *(state.name.lower() for state in _COLUMNS), "other")
    made = _table("queue", *_cluster_column(with_cluster), "state", *numbers, right=numbers, last="walltime")
    for queue in rows[:SHOWN_ROWS]:
        word = queue_state(queue)
        made.add_row(
            output.text(queue.name, "bold"),
            *_cluster_cell(queue.cluster, with_cluster),
            output.text(word, QUEUE_STYLES[word]),
            *map(_count, _job_counts(queue.jobs)),
            output.text(queue.limits.get("resources_max.walltime", NO_VALUE)),
        )
    return [made, *_rest(len(rows), "batch queue")]


def nodes(rows: Sequence[ClusterNode], with_cluster: bool) -> list[Any]:
    """Batch nodes; those of the same cluster in the same states with as many slots are one line."""
    if not rows:
        return [output.text("no batch nodes", "dim")]
    groups: defaultdict[tuple[Any, ...], list[ClusterNode]] = defaultdict(list)
    for node in rows:
        groups[node.cluster, tuple(sorted(node.states)), node.slots].append(node)
    numbers = ("count", "slots", "jobs")
    made = _table("nodes", *_cluster_column(with_cluster), *numbers, "load", right=(*numbers, "load"), last="state")
    made.columns[0].no_wrap, made.columns[0].overflow, made.columns[0].max_width = False, "fold", 30
    for (cluster, states, slots), alike in sorted(groups.items(), key=lambda group: _place(group[1])):
        made.add_row(
            output.text(folded(node.name for node in alike), "bold"),
            *_cluster_cell(cluster, with_cluster),
            output.text(f"{len(alike):,}"),
            output.text(NO_VALUE if slots is None else slots),
            _count(len({job for node in alike for job in node.jobs})),
            output.text(_mean_load(alike)),
            _states(states),
        )
    return [made]


def users(rows: Sequence[Usage], _with_cluster: bool) -> list[Any]:
    """Users, those who hold most first."""
    if not rows:
        return [output.text("no batch jobs", "dim")]
    numbers = ("jobs", "running", "queued", "cpus", "nodes")
    made = _table("user", *numbers, right=numbers)
    for usage in rows[:SHOWN_ROWS]:
        counts = (usage.jobs, usage.running, usage.queued, usage.cpus, usage.nodes)
        made.add_row(output.text(usage.user, "bold"), *map(_count, counts))
    return [made, *_rest(len(rows), "user")]


def results(entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What an actor of pbs tells of batch servers."""
    numbers = ("jobs", "queues", "nodes", "damaged", "age")
    made = _table("server", *numbers, right=numbers)
    for entry in entries:
        age = NO_VALUE if entry["age"] is None else output.duration(entry["age"])
        counts = (_count(entry[name]) for name in numbers[:-1])
        made.add_row(output.text(entry["server"], "bold"), *counts, output.text(age))
    errors = [output.text(_of_server(entry["server"], entry["error"]), "red") for entry in entries if entry["error"]]
    return [made, *errors]


def footer(servers: Iterable[ServerState]) -> Iterator[Text]:
    """How old what is shown is, what could not be read, and what went wrong the last time."""
    known = list(servers)
    if not known:
        yield output.text("the site has no batch servers", "dim")
    for server in known:
        if not server.ok:
            yield output.text(trouble(server), "red")
        else:
            yield output.text(f"{server.server}: {output.duration(server.age or 0.0)} old", "dim")
        if server.damaged:
            example = f", such as {server.damages[0]}" if server.damages else ""
            many = output.counted(server.damaged, "record")
            yield output.text(f"{server.server}: {many} could not be read{example}", "yellow")


def trouble(server: ServerState) -> str:
    """What is wrong with a server, and how old what is shown of it is."""
    if server.error is None:
        return f"{server.server} was never asked; `cm-actors pbs refresh` asks it."
    shown = "nothing is stored" if server.age is None else f"what is stored is {output.duration(server.age)} old"
    return f"{_of_server(server.server, server.error).rstrip('.')}; {shown}."


def queue_state(queue: ClusterQueue) -> str:
    """`open`, `draining` (runs jobs, takes none), `stopped` (takes jobs, runs none) or `closed`."""
    if queue.enabled:
        return "open" if queue.started else "stopped"
    return "draining" if queue.started else "closed"


def clock(seconds: int | None) -> str:
    """A walltime as PBS writes it: ``1:30:00``."""
    if seconds is None:
        return NO_VALUE
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


def folded(names: Iterable[str]) -> str:
    """Names as a set; one after the other where they are not those of a set, as OpenPBS's vnodes (`i001[0]`)."""
    known = list(names)
    return ",".join(known) if any("[" in name for name in known) else fold(known)


def _table(*columns: str, right: tuple[str, ...] = (), last: str = "") -> Table:
    made = output.table(*columns, *([last] if last else []), right=right, last=last)
    for column in made.columns:
        if column.header in ("job", "user", "queue", "cluster", "server"):
            column.max_width, column.overflow = NAME_WIDTH + 4 * (column.header == "job"), "ellipsis"
    return made


def _cluster_column(with_cluster: bool) -> list[str]:
    return ["cluster"] if with_cluster else []


def _cluster_cell(cluster: str | None, with_cluster: bool) -> list[Text]:
    return [output.text(cluster or UNMAPPED, "" if cluster else "yellow")] if with_cluster else []


def _rest(count: int, word: str) -> list[Text]:
    more = count - SHOWN_ROWS
    return [output.text(f"and {output.counted(more, word)} more, which --json has", "yellow")] if more > 0 else []


def _id_shortener(rows: Iterable[ClusterJob]) -> Any:
    """Ids without the server's name, where they are of one server only."""
    ends = {job.id.partition(".")[2] for job in rows}
    return (lambda job: job.id.partition(".")[0]) if len(ends) == 1 else (lambda job: job.id)


def _places(job: ClusterJob) -> Text:
    if job.nodes:
        return output.text(folded(dict.fromkeys(slots.host for slots in job.nodes)))
    return output.text("" if job.node_count is None else f"{output.counted(job.node_count, 'node')} wanted", "dim")


def _job_counts(counts: Mapping[str, int]) -> Iterator[int]:
    shown = [counts.get(state, 0) for state in _COLUMNS]
    total = sum(count for state, count in counts.items() if state not in _OVER)
    yield from (total, *shown, total - sum(shown))


def _count(number: int) -> Text:
    return output.text(f"{number:,}", "" if number else "dim")


def _place(alike: Sequence[ClusterNode]) -> tuple[str, str]:
    return alike[0].cluster or "\uffff", alike[0].name


def _mean_load(alike: Sequence[ClusterNode]) -> str:
    loads = [node.load for node in alike if node.load is not None]
    return f"{sum(loads) / len(loads):.2f}" if loads else NO_VALUE


def _states(states: Iterable[str]) -> Text:
    return Text(", ").join(output.text(state, NODE_STYLES.get(state, "")) for state in states)


def _of_server(server: str, sentence: str) -> str:
    return sentence if sentence.startswith(f"{server}:") else f"{server}: {sentence}"
