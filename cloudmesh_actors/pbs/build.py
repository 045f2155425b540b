"""From the attributes of a record, as printed, to a BatchJob, BatchQueue or BatchNode.

Every builder raises ValueError with a sentence when the record is damaged: without a state it says nothing, and a value
that cannot be read is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from datetime import tzinfo
from typing import Any, Protocol, overload

from cloudmesh_actors.pbs import values
from cloudmesh_actors.pbs.model import Attributes, BatchJob, BatchNode, BatchQueue, JobState, NodeState

_LIMIT = re.compile(r"max_|resources_(?:max|min)\.")
_SLOTS = re.compile(r"[0-9]+(?:-[0-9]+)?")
_SEPARATORS = re.compile(r"[,\s+]+")
_SLURM_FLAGS = "*~#!%$@^-"

_JOB_STATES = {state.value: state for state in JobState}
_NODE_STATES: dict[str, str] = {state.value: state for state in NodeState}
_ENDED = frozenset({JobState.COMPLETED, JobState.FINISHED, JobState.EXPIRED})

#: A BatchJob before it is frozen: a frozen dataclass sets each field by a call, a tenth of what reading a job takes.
_Draft: Any = make_dataclass("_Draft", [field.name for field in fields(BatchJob)], slots=True, eq=False)


class Get(Protocol):
    """`get` of a mapping of attributes."""

    @overload
    def __call__(self, name: str, /) -> str | None: ...
    @overload
    def __call__(self, name: str, default: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the records of one listing: in which time zone its server is, and whether Slurm's wrapper printed it."""

    zone: tzinfo
    slurm: bool = False

    def job(self, name: str, quick: Mapping[str, str], attributes: Attributes) -> BatchJob:
        """A batch job; `quick` has those of its attributes that it is made of."""
        get = quick.get
        state = _JOB_STATES.get(get("job_state", "")) or _job_state(get("job_state"))
        place = get("exec_host") or get("exec_vnode")
        nodes = values.hosts(place, counted=self.slurm) if place else []
        submitted, started, ended = self._slurm_times(get, state) if self.slurm else self._times(get)
        job = _Draft(
            name,
            get("Job_Name", ""),
            get("Job_Owner", "").partition("@")[0],
            state,
            get("queue", ""),
            nodes,
            values.whole(get("Resource_List.nodect")) or len(nodes) or None,
            sum([slots for _, slots in nodes]) if nodes else _cpus_asked(get),
            values.size(get("Resource_List.mem")),
            values.size(get("resources_used.mem")),
            values.duration_asked(get("Resource_List.walltime")),
            values.duration(get("resources_used.walltime")),
            submitted,
            started,
            ended,
            values.whole(get("exit_status") or get("Exit_status")),
            attributes,
        )
        job.__class__ = BatchJob
        return job  # type: ignore[no-any-return]

    def queue(self, name: str, _: Mapping[str, str], attributes: Attributes) -> BatchQueue:
        """A batch queue."""
        if not {"queue_type", "enabled", "started", "total_jobs", "state_count"} & attributes.keys():
            raise ValueError("it says neither its type nor what it does")
        return BatchQueue(
            name=name,
            type=attributes.get("queue_type", ""),
            enabled=values.true(attributes.get("enabled", "")),
            started=values.true(attributes.get("started", "")),
            total=values.whole(attributes.get("total_jobs")),
            states=_counts(attributes.get("state_count", "")),
            limits={key: value for key, value in attributes.items() if _LIMIT.match(key)},
            attributes=attributes,
        )

    def node(self, name: str, _: Mapping[str, str], attributes: Attributes) -> BatchNode:
        """A batch node."""
        if "state" not in attributes:
            raise ValueError("it has no state")
        words = _words(attributes["state"])
        status = attributes.get("status", "")
        get = attributes.get
        memory = get("resources_available.mem") or _in_status(status, "physmem") or _in_status(status, "availmem")
        load = _in_status(status, "loadave")
        return BatchNode(
            name=name,
            states=frozenset([_NODE_STATES.get(word, word) for word in (word.rstrip(_SLURM_FLAGS) for word in words)]),
            slots=values.whole(get("np") or get("resources_available.ncpus") or get("pcpus")),
            jobs=_jobs_on(attributes.get("jobs", "")),
            properties=_words(attributes.get("properties", "")),
            memory=values.size(memory),
            load=float(load) if load else None,
            attributes=attributes,
        )

    def _times(self, get: Get) -> tuple[int | None, int | None, int | None]:
        zone, moment = self.zone, values.moment
        submitted = get("ctime") or get("qtime")
        started = get("start_time") or get("stime")
        ended = get("comp_time") or get("obittime")
        return (
            moment(submitted, zone) if submitted else None,
            moment(started, zone) if started else None,
            moment(ended, zone) if ended else None,
        )

    def _slurm_times(self, get: Get, state: JobState) -> tuple[int | None, int | None, int | None]:
        """What Slurm's wrapper calls mtime and ctime are a job's start and end, expected ones if need be."""
        return (
            values.moment(get("qtime"), self.zone),
            values.moment(get("mtime"), self.zone) if state is not JobState.QUEUED else None,
            values.moment(get("ctime"), self.zone) if state in _ENDED else None,
        )


def _job_state(letter: str | None) -> JobState:
    if letter is None:
        raise ValueError("it has no job_state")
    state = _JOB_STATES.get(letter.strip())
    if state is None:
        raise ValueError(f"job_state: {letter!r} is none of {''.join(_JOB_STATES)}")
    return state


def _cpus_asked(get: Get) -> int | None:
    """The most that ncpus (a default of 1 in Torque), procs or a node request come to."""
    nodes = get("Resource_List.nodes")
    ncpus, procs = values.whole(get("Resource_List.ncpus")), values.whole(get("Resource_List.procs"))
    return max(ncpus or 0, procs or 0, values.processors_asked(nodes) if nodes else 0) or None


def _counts(text: str) -> dict[str, int]:
    """How many jobs are in which state: `Transit:0 Queued:3 …`."""
    pairs = (item.partition(":") for item in text.split())
    return {word: int(count) for word, _, count in pairs if count.isdecimal()}


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATORS.split(text) if word]


def _jobs_on(text: str) -> list[str]:
    """Ids, each once, of Torque's `0/2.server, 5-6/0.server` (slots first) and OpenPBS's `2.server/0`."""
    ids: dict[str, None] = {}
    for item in text.replace(" ", "").split(","):
        before, slash, after = item.partition("/")
        if slash and _SLOTS.fullmatch(before):
            ids[after] = None
        elif before and not _SLOTS.fullmatch(item):  # slots 0,2-3 of a job are written 0,2-3/2.server
            ids[before] = None
    return list(ids)


def _in_status(status: str, name: str) -> str:
    """A value of the status that a MOM reports: `opsys=linux,…,loadave=2.04`."""
    match = re.search(rf"(?:^|,){name}=([0-9.]+\w*)", status)
    return match[1] if match else ""
