"""What the store keeps of deploys: how far each node has come, and what was sent to it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cloudmesh_actors import steps, store
from cloudmesh_actors.clients.cobbler.model import Installation
from cloudmesh_actors.logs import redact
from cloudmesh_actors.rain.model import Deploy
from cloudmesh_actors.rain.stages import ENDED, Stage
from cloudmesh_actors.steps import JOB_STATE, storable
from cloudmesh_actors.store import Store

deploys = sa.Table(
    "rain_deploys",
    store.metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("profile", sa.Text),
    sa.Column("requested_at", sa.Double, nullable=False),
    sa.Column("wait_lease", sa.Double, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("stage_at", sa.Double, nullable=False),
    sa.Column("looks", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.Double),
    sa.Column("sent_times", sa.Integer, nullable=False),
    sa.Column("event_id", sa.Text),
    sa.Column("before_started", sa.Double),
    sa.Column("before_stopped", sa.Double),
    sa.Column("trouble", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("error_kind", sa.String(32)),
    sa.Index("ix_rain_deploys_stage", "stage"),
    sa.Index("ix_rain_deploys_node", "node", "requested_at"),
)

_t = deploys.c
_COLUMNS = tuple(column.name for column in deploys.c)
_OPEN = _t.stage.not_in([stage.value for stage in ENDED])


class Overtaken(Exception):
    """Another run of the same step has gone on with the deploy: this one has nothing more to do."""


def begin(requested: Iterable[Deploy], to: Store | None = None) -> None:
    """Keep deploys that were asked for; those that are there already stay as they are."""
    target = to or store.current()
    rows = [_row(deploy) for deploy in requested]
    with target.write(durable=True) as connection:
        fresh = target.insert(deploys).on_conflict_do_nothing()
        connection.execute(fresh, rows)
        told = target.insert(steps.node_outcomes).on_conflict_do_nothing()
        connection.execute(told, [_outcome(_deploy_of(row)) for row in rows])
        for job_id in {row["job_id"] for row in rows}:
            _tell_progress(connection, job_id, None)


def get(job_id: str, node: str, of: Store | None = None) -> Deploy | None:
    """The deploy of a node by a job; None when the job has none of it."""
    query = sa.select(deploys).where(_t.job_id == job_id, _t.node == node)
    with (of or store.current()).read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _deploy_of(row._mapping)


def change(deploy: Deploy, to: Store | None = None, **changes: Any) -> Deploy:
    """Commit changes of a deploy, with what its job tells of the node; returns it as it is then.

    Raises:
        Overtaken: it was changed since it was read.
    """
    target = to or store.current()
    after = replace(deploy, version=deploy.version + 1, **changes)
    row = {name: value for name, value in _row(after).items() if name not in ("job_id", "node")}
    same = sa.and_(_t.job_id == deploy.job_id, _t.node == deploy.node, _t.version == deploy.version)
    with target.write(durable=True) as connection:
        if not connection.execute(sa.update(deploys).where(same).values(row)).rowcount:
            raise Overtaken(f"{deploy.node} {deploy.stage}")
        if after.stage is not deploy.stage or after.trouble != deploy.trouble:
            _tell(connection, target, after)
    return after


def of_job(job_id: str, of: Store | None = None) -> list[Deploy]:
    """The deploys of a job, by node."""
    return _select(_t.job_id == job_id, of)


def latest(nodes: Sequence[str] | None = None, limit: int = 100, of: Store | None = None) -> list[Deploy]:
    """The latest deploys, newest first; of some nodes only, if they are given."""
    query = sa.select(deploys).order_by(_t.requested_at.desc(), _t.node).limit(limit)
    if nodes is not None:
        query = query.where(_t.node.in_(nodes))
    with (of or store.current()).read() as connection:
        return [_deploy_of(row._mapping) for row in connection.execute(query)]


def left_behind(of: Store | None = None) -> list[Deploy]:
    """Deploys that nobody goes on with: their jobs have ended, as by an abort, and they have not."""
    query = sa.select(deploys, JOB_STATE).join(steps.steps, steps.steps.c.id == _t.job_id).where(_OPEN)
    with (of or store.current()).read() as connection:
        rows = connection.execute(query).all()
    return [_deploy_of(row._mapping) for row in rows if row.job_state in set(steps.ENDED)]


def _select(condition: sa.ColumnElement[bool], of: Store | None) -> list[Deploy]:
    with (of or store.current()).read() as connection:
        rows = connection.execute(sa.select(deploys).where(condition).order_by(_t.node))
        return [_deploy_of(row._mapping) for row in rows]


# -- what a job tells of its nodes


def _tell(connection: Connection, target: Store, deploy: Deploy) -> None:
    outcome = _outcome(deploy)
    insert = target.insert(steps.node_outcomes).values(outcome)
    connection.execute(insert.on_conflict_do_update(index_elements=["step_id", "node"], set_=outcome))
    _tell_progress(connection, deploy.job_id, f"{deploy.node} {deploy.stage}")


def _tell_progress(connection: Connection, job_id: str, note: str | None) -> None:
    counted = sa.select(sa.func.count(), sa.func.count(sa.case((_OPEN, 1)))).where(_t.job_id == job_id)
    total, still_open = connection.execute(counted).one()
    told = {"progress_done": total - still_open, "progress_total": total, "progress_note": note}
    connection.execute(sa.update(steps.steps).where(steps.steps.c.id == job_id).values(told))


def _outcome(deploy: Deploy) -> dict[str, Any]:
    """The row of the node among the outcomes of its job's first step."""
    ok = deploy.stage is Stage.INSTALLED if deploy.ended else None
    data = {"stage": deploy.stage.value, "profile": deploy.profile}
    error = deploy.error if deploy.ended else deploy.trouble
    return {
        "step_id": deploy.job_id, "node": deploy.node, "ok": ok, "stage": deploy.stage.value, "error": _clean(error),
        "error_kind": deploy.error_kind if deploy.ended else None, "data": orjson.dumps(data).decode(),
        "at": time.time(),
    }  # fmt: skip


# -- rows


def _row(deploy: Deploy) -> dict[str, Any]:
    row = asdict(deploy)
    before = row.pop("before")
    texts = {name: _clean(row[name]) for name in ("trouble", "error", "profile")}
    return {**row, **texts, "stage": deploy.stage.value, "before_started": before["started"],
            "before_stopped": before["stopped"]}  # fmt: skip


def _clean(text: str | None) -> str | None:
    return None if text is None else storable(redact.text(text))


def _deploy_of(row: Any) -> Deploy:
    values = {name: row[name] for name in _COLUMNS if not name.startswith("before_")}
    before = Installation(row["before_started"], row["before_stopped"])
    return Deploy(**{**values, "stage": Stage(values["stage"]), "before": before})
