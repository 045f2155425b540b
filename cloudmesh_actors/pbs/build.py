"""From the attributes of a record, as printed, to a BatchJob, BatchQueue or BatchNode.

Every builder raises ValueError with a sentence when the record is damaged: without a state it says nothing, and a value
that cannot be read is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import TypeVar

from cloudmesh_actors.pbs import values
from cloudmesh_actors.pbs.model import BatchJob, BatchNode, BatchQueue, JobState, NodeState, Slots

Attributes = Mapping[str, str]
Value = TypeVar("Value")

_STATE_COUNT = re.compile(r"(\w+):([0-9]+)")
_LIMIT = re.compile(r"max_|resources_(?:max|min)\.")
_SLOTS = re.compile(r"[0-9]+(?:-[0-9]+)?")
_SEPARATORS = re.compile(r"[,\s+]+")
_SLURM_FLAGS = "*~#!%$@^-"

_JOB_STATES = {state.value: state for state in JobState}
_NODE_STATES: dict[str, str] = {state.value: state for state in NodeState}
_ENDED = frozenset({JobState.COMPLETED, JobState.FINISHED, JobState.EXPIRED})


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the records of one listing: in which time zone its server is, and whether Slurm's wrapper printed it."""

    zone: tzinfo
    slurm: bool = False

    def job(self, name: str, attributes: Attributes) -> BatchJob:
        """A batch job."""
        get = attributes.get
        state = _job_state(get("job_state"))
        nodes = self._nodes(attributes)
        submitted, started, ended = self._slurm_times(attributes, state) if self.slurm else self._times(attributes)
        return BatchJob(
            id=name,
            name=get("Job_Name", ""),
            owner=get("Job_Owner", "").partition("@")[0],
            state=state,
            queue=get("queue", ""),
            nodes=nodes,
            node_count=_read(values.whole, attributes, "Resource_List.nodect") or len(nodes) or None,
            cpus=sum([slots for _, slots in nodes]) or _cpus_asked(attributes),
            memory=_read(values.size, attributes, "Resource_List.mem"),
            memory_used=_read(values.size, attributes, "resources_used.mem"),
            walltime_requested=_read(values.duration, attributes, "Resource_List.walltime"),
            walltime_used=_read(values.duration, attributes, "resources_used.walltime"),
            submitted=submitted,
            started=started,
            ended=ended,
            exit_status=_read(values.whole, attributes, "exit_status", "Exit_status"),
            attributes=attributes,
        )

    def queue(self, name: str, attributes: Attributes) -> BatchQueue:
        """A batch queue."""
        if not {"queue_type", "enabled", "started", "total_jobs", "state_count"} & attributes.keys():
            raise ValueError("it says neither its type nor what it does")
        return BatchQueue(
            name=name,
            type=attributes.get("queue_type", ""),
            enabled=values.true(attributes.get("enabled", "")),
            started=values.true(attributes.get("started", "")),
            total=_read(values.whole, attributes, "total_jobs"),
            states={word: int(count) for word, count in _STATE_COUNT.findall(attributes.get("state_count", ""))},
            limits={key: value for key, value in attributes.items() if _LIMIT.match(key)},
            attributes=attributes,
        )

    def node(self, name: str, attributes: Attributes) -> BatchNode:
        """A batch node."""
        if "state" not in attributes:
            raise ValueError("it has no state")
        words = _words(attributes["state"])
        status = attributes.get("status", "")
        memory = _read(values.size, attributes, "resources_available.mem")
        load = _in_status(status, "loadave")
        return BatchNode(
            name=name,
            states=frozenset([_NODE_STATES.get(word, word) for word in (word.rstrip(_SLURM_FLAGS) for word in words)]),
            slots=_read(values.whole, attributes, "np", "resources_available.ncpus", "pcpus"),
            jobs=_jobs_on(attributes.get("jobs", "")),
            properties=_words(attributes.get("properties", "")),
            memory=values.size(_in_status(status, "physmem") or _in_status(status, "availmem")) if memory is None else memory,
            load=float(load) if load else None,
            attributes=attributes,
        )

    def _nodes(self, attributes: Attributes) -> list[Slots]:
        text = attributes.get("exec_host") or attributes.get("exec_vnode")
        if not text or text.lower() in values.NOTHING:
            return []
        return values.hosts(text, counted=self.slurm)

    def _times(self, attributes: Attributes) -> tuple[int | None, int | None, int | None]:
        return (
            self._moment(attributes, "ctime", "qtime"),
            self._moment(attributes, "start_time", "stime"),
            self._moment(attributes, "comp_time", "obittime"),
        )

    def _slurm_times(self, attributes: Attributes, state: JobState) -> tuple[int | None, int | None, int | None]:
        """What Slurm's wrapper calls mtime and ctime are a job's start and end, expected ones if need be."""
        return (
            self._moment(attributes, "qtime"),
            self._moment(attributes, "mtime") if state is not JobState.QUEUED else None,
            self._moment(attributes, "ctime") if state in _ENDED else None,
        )

    def _moment(self, attributes: Attributes, *names: str) -> int | None:
        return _read(lambda text: values.moment(text, self.zone), attributes, *names)


def _read(convert: Callable[[str], Value | None], attributes: Attributes, *names: str) -> Value | None:
    """The first of some attributes that is there, converted."""
    for name in names:
        text = attributes.get(name)
        if text is not None:
            try:
                return convert(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return None


def _job_state(letter: str | None) -> JobState:
    if letter is None:
        raise ValueError("it has no job_state")
    state = _JOB_STATES.get(letter.strip())
    if state is None:
        raise ValueError(f"job_state: {letter!r} is none of {''.join(_JOB_STATES)}")
    return state


def _cpus_asked(attributes: Attributes) -> int | None:
    """The most that ncpus (a default of 1 in Torque), procs or a node request come to."""
    asked = [_read(values.whole, attributes, name) or 0 for name in ("Resource_List.ncpus", "Resource_List.procs")]
    return max(*asked, _read(values.processors_asked, attributes, "Resource_List.nodes") or 0) or None


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
