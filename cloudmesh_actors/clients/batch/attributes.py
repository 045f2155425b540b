"""The attributes of simulated records, as Torque, OpenPBS and Slurm's wrapper name and write them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloudmesh_actors.clients.batch.printers import Listing, Record, Value
from cloudmesh_actors.clients.batch.world import MEMORY, SLOTS, Phase, SimulatedJob, SimulatedNode, World

LETTERS: Mapping[Phase, str] = {"queued": "Q", "held": "H", "running": "R", "ended": "C"}

#: The longest a job may take in a queue, in seconds.
LONGEST = 168 * 3600


@dataclass(frozen=True)
class Moment:
    """A world at a moment, as one server shows it."""

    server: str
    world: World
    now: float
    jobs: Sequence[SimulatedJob]

    def running(self) -> Iterator[SimulatedJob]:
        """The jobs that hold slots."""
        return (job for job in self.jobs if job.phase(self.now) == "running")

    def id(self, job: SimulatedJob) -> str:
        """A job's id in PBS."""
        return f"{job.number}.{self.server}"

    def counts(self, queue: str) -> Counter[Phase]:
        """Jobs of a queue by what they do."""
        return Counter(job.phase(self.now) for job in self.jobs if job.queue == queue)

    def on(self) -> Mapping[str, list[tuple[SimulatedJob, int, int]]]:
        """By node: each running job, its first slot there and how many."""
        held: defaultdict[str, list[tuple[SimulatedJob, int, int]]] = defaultdict(list)
        for job in self.running():
            for share in job.shares:
                held[share.node].append((job, share.first, share.slots))
        return held


def torque(moment: Moment) -> tuple[Listing, Listing, Listing]:
    """Jobs, queues and nodes of a Torque server."""
    held = moment.on()
    return (
        [(moment.id(job), _torque_job(moment, job)) for job in moment.jobs],
        [(queue, _queue(moment, queue, "Complete")) for queue in moment.world.queues],
        [_torque_node(moment, node, held.get(node.name, [])) for node in moment.world.nodes],
    )


def openpbs(moment: Moment) -> tuple[Listing, Listing, Listing]:
    """Jobs, queues and nodes of an OpenPBS server, which shows no ended jobs."""
    held = moment.on()
    shown = Moment(moment.server, moment.world, moment.now, [job for job in moment.jobs if moment.now < job.ended])
    return (
        [(moment.id(job), _openpbs_job(moment, job)) for job in shown.jobs],
        [(queue, _queue(shown, queue, "Begun")) for queue in moment.world.queues],
        [_openpbs_node(moment, node, held.get(node.name, [])) for node in moment.world.nodes],
    )


def slurm(moment: Moment) -> tuple[Listing, Listing, Listing]:
    """Jobs, queues and nodes that Slurm's wrapper shows."""
    held = moment.on()
    enabled = {"queue_type": "Execution", "enabled": "yes", "started": "yes"}
    return (
        [(str(job.number), _slurm_job(moment, job)) for job in moment.jobs],
        [(queue, enabled) for queue in moment.world.queues],
        [_slurm_node(moment, node, held.get(node.name, [])) for node in moment.world.nodes],
    )


def _torque_job(moment: Moment, job: SimulatedJob) -> dict[str, Value]:
    phase = job.phase(moment.now)
    slots = [f"{share.node}/{slot}" for share in job.shares for slot in range(share.first, share.first + share.slots)]
    has_begun = phase in ("running", "ended")
    return {
        **_head(moment, job, LETTERS[phase]),
        "ctime": job.submitted,
        **({"exec_host": "+".join(slots)} if has_begun else {}),
        "Hold_Types": "u" if phase == "held" else "n",
        "mtime": _last_change(job, phase),
        "Priority": "0",
        "qtime": job.submitted,
        "Rerunable": "True",
        "Resource_List.mem": _kilobytes(job.memory),
        "Resource_List.nodect": str(len(job.shares)),
        "Resource_List.nodes": f"{len(job.shares)}:ppn={job.shares[0].slots}",
        "Resource_List.walltime": hours(job.walltime),
        **_tail(job),
        "etime": job.submitted,
        **({"exit_status": str(job.exit_status)} if phase == "ended" else {}),
        **({"start_time": job.started, "start_count": "1"} if has_begun else {}),
        **({"comp_time": job.ended} if phase == "ended" else {}),
        "submit_host": moment.server,
    }


def _openpbs_job(moment: Moment, job: SimulatedJob) -> dict[str, Value]:
    phase = job.phase(moment.now)
    places: dict[str, Value] = {
        "exec_host": "+".join(f"{share.node}/0*{share.slots}" for share in job.shares),
        "exec_vnode": "+".join(f"({share.node}:ncpus={share.slots})" for share in job.shares),
    }
    return {
        **_head(moment, job, LETTERS[phase]),
        "ctime": job.submitted,
        **(places if phase == "running" else {}),
        "Hold_Types": "u" if phase == "held" else "n",
        "mtime": _last_change(job, phase),
        "Priority": "0",
        "qtime": job.submitted,
        "Rerunable": "True",
        "Resource_List.mem": _kilobytes(job.memory),
        "Resource_List.ncpus": str(job.cpus),
        "Resource_List.nodect": str(len(job.shares)),
        "Resource_List.place": "scatter",
        "Resource_List.select": f"{len(job.shares)}:ncpus={job.shares[0].slots}",
        "Resource_List.walltime": hours(job.walltime),
        **({"stime": job.started, "run_count": "1"} if phase == "running" else {}),
        **_tail(job),
        "etime": job.submitted,
        "project": "_pbs_project_default",
        "Submit_Host": moment.server,
    }


def _slurm_job(moment: Moment, job: SimulatedJob) -> dict[str, Value]:
    """The wrapper calls start and end, expected ones too, mtime and ctime; it has a state for no held job."""
    phase = job.phase(moment.now)
    end = job.ended if phase == "ended" else job.started + job.walltime
    hosts = "+".join(f"{share.node}/{share.slots}" for share in job.shares)
    has_begun = phase in ("running", "ended")
    return {
        "Job_Name": job.name,
        "Job_Owner": f"{job.owner}@{moment.server}",
        "job_state": "Q" if phase == "held" else LETTERS[phase],
        "queue": job.queue,
        "qtime": job.submitted,
        **({"mtime": job.started, "ctime": end, "exec_host": hosts} if has_begun else {}),
        "Priority": "0" if phase == "held" else str(2**32 - 2**18 - job.number % 2**17),
        "euser": f"{job.owner}(1000)",
        "egroup": f"{job.owner}(1000)",
        "Resource_List.walltime": hours(job.walltime),
        "Resource_List.nodect": str(len(job.shares)),
        "Resource_List.ncpus": str(job.cpus),
    }


def _head(moment: Moment, job: SimulatedJob, letter: str) -> dict[str, Value]:
    used = job.used(moment.now)
    resources: dict[str, Value] = {
        "resources_used.cput": hours(used * job.cpus),
        "resources_used.mem": _kilobytes(job.memory // 2),
        "resources_used.walltime": hours(used),
    }
    return {
        "Job_Name": job.name,
        "Job_Owner": f"{job.owner}@{moment.server}",
        **(resources if letter in "RC" else {}),
        "job_state": letter,
        "queue": job.queue,
        "server": moment.server,
        "Checkpoint": "u",
    }


def _tail(job: SimulatedJob) -> dict[str, Value]:
    variables = {"QUEUE": job.queue, "HOME": f"/home/{job.owner}", "LOGNAME": job.owner, "SHELL": "/bin/bash"}
    return {
        "Variable_List": ",".join(f"PBS_O_{name}={value}" for name, value in variables.items()),
        "euser": job.owner,
        "egroup": job.owner,
    }


def _last_change(job: SimulatedJob, phase: Phase) -> int:
    return {"queued": job.held_until, "held": job.submitted, "running": job.started, "ended": job.ended}[phase]


def _queue(moment: Moment, queue: str, last: str) -> dict[str, Value]:
    counts = moment.counts(queue)
    named = {
        "Transit": 0,
        "Queued": counts["queued"],
        "Held": counts["held"],
        "Waiting": 0,
        "Running": counts["running"],
        "Exiting": 0,
        last: counts["ended"],
    }
    return {
        "queue_type": "Execution",
        "total_jobs": str(counts.total()),
        "state_count": "".join(f"{name}:{count} " for name, count in named.items()),
        "resources_max.walltime": hours(LONGEST),
        "enabled": "True",
        "started": "True",
    }


def _torque_node(moment: Moment, node: SimulatedNode, held: Sequence[tuple[SimulatedJob, int, int]]) -> Record:
    used = sum(slots for _, _, slots in held)
    jobs = ",".join(f"{_range(first, slots)}/{moment.id(job)}" for job, first, slots in held)
    load = f"{used * 0.99:.2f}"
    status = (
        f"rectime={int(moment.now)},opsys=linux,physmem={_kilobytes(MEMORY)},"
        f"availmem={_kilobytes(MEMORY - sum(job.memory // 2 for job, _, _ in held))},"
        f"ncpus={SLOTS},loadave={load},state={'busy' if used == SLOTS else 'free'}"
    )
    attributes: dict[str, Value] = {
        "state": _state(node, used, "job-exclusive"),
        "power_state": "Running",
        "np": str(SLOTS),
        "properties": node.cluster,
        "ntype": "cluster",
        **({"jobs": jobs} if jobs else {}),
        **({} if node.is_down else {"status": status}),
        **({"note": "does not boot"} if node.is_down else {}),
    }
    return node.name, attributes


def _openpbs_node(moment: Moment, node: SimulatedNode, held: Sequence[tuple[SimulatedJob, int, int]]) -> Record:
    used = sum(slots for _, _, slots in held)
    jobs = ", ".join(f"{moment.id(job)}/{slot}" for job, first, slots in held for slot in range(first, first + slots))
    return node.name, {
        "Mom": node.name,
        "Port": "15002",
        "pbs_version": "23.06.06",
        "ntype": "PBS",
        "state": _state(node, used, "job-busy"),
        "pcpus": str(SLOTS),
        **({"jobs": jobs} if jobs else {}),
        "resources_available.arch": "linux",
        "resources_available.host": node.name,
        "resources_available.mem": _kilobytes(MEMORY),
        "resources_available.ncpus": str(SLOTS),
        "resources_available.vnode": node.name,
        "resources_assigned.mem": _kilobytes(sum(job.memory for job, _, _ in held)),
        "resources_assigned.ncpus": str(used),
        "resv_enable": "True",
        "sharing": "default_shared",
        **({"comment": "does not boot"} if node.is_down else {}),
    }


def _slurm_node(moment: Moment, node: SimulatedNode, held: Sequence[tuple[SimulatedJob, int, int]]) -> Record:
    used = sum(slots for _, _, slots in held)
    state = "mixed" if 0 < used < SLOTS else _state(node, used, "job-exclusive")
    plain = "down*" if node.is_down else {0: "idle", SLOTS: "allocated"}.get(used, "mixed")
    status = f"rectime={int(moment.now)},state={state},slurmstate={plain},ncpus={SLOTS},availmem={MEMORY >> 20}mb"
    return node.name, {
        "state": state,
        "np": str(SLOTS),
        "properties": node.cluster,
        "ntype": "cluster",
        "status": status,
        **({"note": "does not boot"} if node.is_down else {}),
    }


def _state(node: SimulatedNode, used: int, full: str) -> str:
    if node.is_down:
        return "down"
    return full if used == SLOTS else "free"


def hours(seconds: int) -> str:
    """A duration as PBS writes it: 168:00:00."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _kilobytes(size: int) -> str:
    return f"{size // 1024}kb"


def _range(first: int, slots: int) -> str:
    return str(first) if slots == 1 else f"{first}-{first + slots - 1}"
