"""Why a process is not ready: in words for people."""

from __future__ import annotations

import json

from cloudmesh_actors.logs import render
from workers.supervisor import Process

#: What supervisord's states mean for a process that should be ready.
STATES = {
    "FATAL": "it ended each time it was started.",
    "BACKOFF": "it ended, and will be started again.",
    "EXITED": "it ended.",
    "STOPPED": "it was stopped.",
}


def why(process: Process | None) -> str:
    """Why a process is not ready, as far as supervisord knows."""
    if process is None:
        return "supervisord does not know it."
    if process.spawn_error and not process.spawn_error.startswith("Exited too quickly"):
        return process.spawn_error
    running = f"it runs (pid {process.pid}), but has not said that it is ready."
    return STATES.get(process.state, running)


def readable(line: str) -> str:
    """A line of a log for people; of a traceback its last line, which says what happened."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return render.safe(line)
    if exception := str(event.pop("exception", "")).strip():
        event["exception"] = exception.splitlines()[-1]
    return render.line(event)
