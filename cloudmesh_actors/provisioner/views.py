"""Provisionings as small JSON, for actors, the command line and pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cloudmesh_actors.provisioner import records
from cloudmesh_actors.provisioner.model import NodeResult, Provisioning, Transition
from cloudmesh_actors.provisioner.states import TEXTS, State
from cloudmesh_actors.provisioner.tasks import WAITS_FOR
from cloudmesh_actors.times import iso

#: What a node has that was never provisioned.
NOTHING: dict[str, Any] = {
    "ok": True, "error": None, "error_kind": None, "job": None, "image": None, "driver": None, "state": None,
    "text": None, "since": None, "requested_at": None, "waits_for": None, "trouble": None, "failed_in": None,
    "aborting": False,
}  # fmt: skip


def status(nodes: Sequence[str]) -> list[NodeResult]:
    """The latest provisioning of each node, whichever job's."""
    found = records.latest(nodes)
    return [entry(found[node]) if node in found else {"node": node, **NOTHING} for node in nodes]


def of_job(job_id: str) -> list[NodeResult]:
    """The provisionings of a job."""
    return [entry(it) for it in records.of_job(job_id)]


def entry(it: Provisioning) -> NodeResult:
    """One provisioning. It is ok unless it has failed; while that is put back it is not."""
    return {
        "node": it.node, "ok": it.error is None, "error": it.error, "error_kind": it.error_kind, "job": it.job_id,
        "image": it.image, "driver": it.driver, "state": it.state.value, "text": TEXTS[it.state],
        "since": _time(it.state_at), "requested_at": _time(it.requested_at),
        "waits_for": WAITS_FOR[it.task] if it.task else None, "trouble": it.trouble,
        "failed_in": it.failed_in and it.failed_in.value, "aborting": it.abort_at is not None and not it.ended,
    }  # fmt: skip


def history(node: str) -> NodeResult:
    """How a node came to its state."""
    told = [_transition(each) for each in records.history(node)]
    return {"node": node, "ok": True, "error": None, "error_kind": None, "transitions": told}


def _transition(each: Transition) -> dict[str, Any]:
    return {
        "time": _time(each.at), "job": each.job_id, "event": each.event and each.event.value,
        "before": _name(each.before), "after": each.after.value, "reason": each.reason,
    }  # fmt: skip


def _name(state: State | None) -> str | None:
    return state and state.value


def _time(at: float) -> str:
    return iso(datetime.fromtimestamp(at, UTC))
