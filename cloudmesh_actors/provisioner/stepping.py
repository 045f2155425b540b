"""From a message to the provisioning it is a step of: its lease, its driver, its deadlines, and the step after it."""

from __future__ import annotations

import time
from typing import Any

from cloudmesh_actors import leases, logs, settings
from cloudmesh_actors.errors import ArgumentError, JobAborted, LeaseHeld, LeaseLost, NodeError, StoreUnavailable
from cloudmesh_actors.provisioner import drivers, records
from cloudmesh_actors.provisioner.model import Driver, DriverName, Provisioning
from cloudmesh_actors.provisioner.provisioning import LONGEST_WAIT_S, Aborted, Working
from cloudmesh_actors.provisioner.states import Event, State
from cloudmesh_actors.provisioner.tasks import Deadlines
from cloudmesh_actors.runs import Run
from cloudmesh_actors.stagger import Groups

#: A lease lasts longer than the longest wait between two steps and what a step may take over a BMC that is dead.
LEASE_TTL_S = LONGEST_WAIT_S + 180.0

#: How often one who waits for a lease tries to take it, in seconds.
TRY_LEASE_EVERY_S = 2.0

#: When the store was away, or another run has overtaken this one, it is tried again after so many seconds.
AGAIN_S = 5.0

#: How long what was armed is tried to be put back by others, when nobody goes on with a provisioning, in seconds.
GIVE_UP_S = 3600.0

#: The actor that a lease is held by.
ACTOR = "provisioner.provision"

log = logs.get_logger()


class _Keeper:
    """Commits to the store."""

    def change(self, it: Provisioning, **changes: Any) -> Provisioning:
        return records.change(it, **changes)

    def enter(
        self, it: Provisioning, event: Event, now: float, reason: str | None = None, **changes: Any
    ) -> Provisioning:
        return records.enter(it, event, now, reason, **changes)

    def take_turn(self, it: Provisioning, now: float) -> Provisioning:
        return records.take_turn(it, Groups.current(), now)


def request(run: Run, nodes: tuple[str, ...], image: str, driver: DriverName | None, wait_lease: float) -> None:
    """Keep that these nodes are to be provisioned by the run's job."""
    now = time.time()
    asked: dict[str, Any] = {
        "job_id": run.job_id, "image": image, "requested_at": now, "state_at": now, "task_at": now,
        "wait_lease": wait_lease,
    }  # fmt: skip
    records.begin(Provisioning(node=node, driver=driver or drivers.chosen_for(node), **asked) for node in nodes)


def step(run: Run, node: str) -> float | None:
    """One step of the run's job on a node. Returns seconds until the next one; None when there is none.

    Raises:
        ArgumentError: the job provisions no such node.
        JobAborted, HandedBack: the run was to stop.
    """
    try:
        it = records.get(run.job_id, node)
        if it is None:
            raise ArgumentError(f"provisioner.step is sent by {ACTOR} only; {node} is none of its nodes.")
        return None if it.ended else _step(run, it)
    except records.Overtaken as error:  # whoever goes on may die before its step ends: this one stays in line
        log.info("provisioning.overtaken", node=node, at=str(error))
    except StoreUnavailable as error:
        log.warning("provisioning.store_away", node=node, error=str(error))
    return AGAIN_S


def _step(run: Run, it: Provisioning) -> float | None:
    try:
        lease = leases.take([it.node], job_id=run.job_id, actor=ACTOR, ttl=LEASE_TTL_S)[it.node]
    except LeaseHeld as error:
        return _wait_for_lease(run, it, error)
    except LeaseLost as error:  # a later run of this step goes on
        raise records.Overtaken(str(error)) from error

    def checkpoint() -> None:
        run.checkpoint()
        _look_for_abort(it)

    working = Working(
        it, lambda: connect(it), check=lambda: leases.check(lease), checkpoint=checkpoint, keeper=_Keeper(),
        deadlines=deadlines(),
    )  # fmt: skip
    try:
        wait = working.go_on()
    finally:
        if working.it.ended:
            leases.release([it.node], job_id=run.job_id)
    if working.job_aborted:
        raise JobAborted(f"The job {run.job_id} was aborted.")
    return wait


def connect(it: Provisioning) -> Driver:
    """Begin a conversation about a node with its driver."""
    return drivers.connect(it.driver, it.node, it.image)


def _look_for_abort(it: Provisioning) -> None:
    if records.was_asked_to_abort(it):
        raise Aborted(f"{it.node}: somebody asked to stop it.")


def _wait_for_lease(run: Run, it: Provisioning, error: LeaseHeld) -> float | None:
    run.checkpoint()
    waited = time.time() - it.requested_at
    told: NodeError = error
    try:
        _look_for_abort(it)
    except Aborted as aborted:
        told = aborted
    if it.state is State.INITIATING and waited < it.wait_lease and told is error:
        records.change(it, trouble=str(error))
        return min(TRY_LEASE_EVERY_S, it.wait_lease - waited + 0.1)
    fail(it, told)
    return None


def fail(it: Provisioning, error: NodeError) -> Provisioning:
    """End a provisioning without a word to its driver: who has the node's lease decides what it boots."""
    why = it.error or str(error)
    changes: dict[str, Any] = {
        "error": why,
        "error_kind": it.error_kind or error.kind,
        "failed_in": it.failed_in or it.state,
    }
    event = Event.ABORTED if changes["error_kind"] == Aborted.kind else Event.FAILED
    return records.enter(it, event, time.time(), why, **changes)


def deadlines() -> Deadlines:
    """How long each state may take, by the settings."""
    config = settings.current()
    return Deadlines(
        initiating=config.provision_prepare_deadline,
        preparing_image=config.provision_prepare_deadline,
        booting=config.provision_boot_deadline,
        available=config.provision_answer_deadline,
        power=config.power_deadline,
    )


def put_back(run: Run, node: str) -> str:
    """Put back what is armed of a node whose provisionings nobody goes on with. Returns what was done.

    Raises:
        NodeError: it could not be; it is tried again the next time.
    """
    behind = [it for it in records.left_behind() if it.node == node]
    told = "nothing to put back"
    for it in behind:
        told = _put_back(run, it) if it.armed else "nothing was armed"
        fail(it, Aborted(f"{node}: its job ended before it did; {told}."))
    return told


def _put_back(run: Run, it: Provisioning) -> str:
    try:
        with leases.hold(it.node, run=run) as guard, connect(it) as driver:
            guard.check()
            driver.put_back()
    except LeaseHeld:  # whoever has it now decides what it boots
        return "another job works on the node now"
    except NodeError as error:
        if time.time() - it.state_at < GIVE_UP_S:
            raise
        return f"what was armed could not be put back, so it may install itself: {str(error).rstrip('.')}"
    return "what was armed is put back"
