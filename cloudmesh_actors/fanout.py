"""One piece of work for each of many nodes, several at a time, with progress, safe points, and an outcome per node."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from cloudmesh_actors import logs
from cloudmesh_actors.errors import CloudmeshError, JobAborted, NodeError
from cloudmesh_actors.runs import HandedBack, Run

#: How often the fan-out looks whether its job was aborted while no node ends, in seconds.
TICK_S = 0.5

log = logs.get_logger()

Outcome = dict[str, Any]


def each(nodes: Sequence[str], work: Callable[[str], Mapping[str, Any]], *, width: int, run: Run) -> list[Outcome]:
    """Do `work` for every node, `width` at a time, and give their outcomes in the order of `nodes`.

    An outcome is `{"node", "ok", "error", "error_kind", …}` with what `work` returned. A `NodeError` that `work`
    raises is that node's outcome, and so, as kind "bug" and with a traceback in the log, is any other exception: one
    node never costs the others. Between nodes the run may stop: nodes that have begun are waited for and recorded, the
    others are not begun.

    Raises:
        JobAborted, HandedBack: the run was to stop at this safe point.
    """
    outcomes: dict[str, Outcome] = {}
    waiting = iter(dict.fromkeys(nodes))
    total = len(set(nodes))
    with ThreadPoolExecutor(max_workers=max(1, min(width, total)), thread_name_prefix="node") as pool:
        running: set[Future[Outcome]] = set()
        try:
            while True:
                run.checkpoint()
                _fill(running, waiting, pool, work, width)
                if not running:
                    break
                for future in wait(running, TICK_S, FIRST_COMPLETED).done:
                    running.discard(future)
                    _record(future.result(), outcomes, run, total)
        finally:  # the run stops here: what has begun still counts
            for future in wait(running).done:
                if future.exception() is None:
                    _record(future.result(), outcomes, run, total)
    return [outcomes[node] for node in nodes]


def failed(outcomes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The nodes whose outcome is not ok."""
    return [outcome["node"] for outcome in outcomes if not outcome["ok"]]


def _fill(
    running: set[Future[Outcome]],
    waiting: Iterable[str],
    pool: ThreadPoolExecutor,
    work: Callable[[str], Mapping[str, Any]],
    width: int,
) -> None:
    """Begin nodes until `width` run: what is not begun can still be left alone when the job is aborted."""
    for node in waiting if len(running) < width else ():
        running.add(pool.submit(contextvars.copy_context().run, _one, node, work))
        if len(running) >= width:
            return


def _one(node: str, work: Callable[[str], Mapping[str, Any]]) -> Outcome:
    try:
        return {"node": node, "ok": True, "error": None, "error_kind": None, **work(node)}
    except (JobAborted, HandedBack):  # the node came to a safe point of its own
        raise
    except NodeError as error:
        log.warning("node.failed", node=node, kind=error.kind, error=str(error))
        return {"node": node, "ok": False, "error": str(error), "error_kind": error.kind}
    except CloudmeshError as error:
        log.warning("node.failed", node=node, kind=type(error).__name__, error=str(error))
        return {"node": node, "ok": False, "error": str(error), "error_kind": "error"}
    except Exception as error:
        log.exception("node.failed", node=node, kind="bug")
        text = f"{node}: a fault in this program ({type(error).__name__}: {error}); the worker's log has the traceback."
        return {"node": node, "ok": False, "error": text, "error_kind": "bug"}


def _record(outcome: Outcome, outcomes: dict[str, Outcome], run: Run, total: int) -> None:
    outcomes[outcome["node"]] = outcome
    run.outcome(outcome["node"], outcome["ok"], outcome["error"], outcome["error_kind"])
    run.progress(len(outcomes), total, outcome["node"])
