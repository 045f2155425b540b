"""Actors for tests of the engine. What they did shows in a file: a line per run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cloudmesh_actors import fanout, jobs
from cloudmesh_actors.actor import ACTORS, actor

QUEUE = "rack"


class Expected(Exception):
    """What an actor may throw."""


def write(effects: str, text: str) -> None:
    descriptor = os.open(effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def lines(effects: str | Path) -> list[str]:
    path = Path(effects)
    return path.read_text().splitlines() if path.exists() else []


def add(x: int, y: int) -> int:
    return x + y


def nothing() -> None:
    pass


def echo(value: Any) -> Any:
    return value


def echo_result(message: dict[str, Any], result: Any) -> Any:
    return result


def unspeakable() -> Any:
    return object()


def note(effects: str, text: str) -> str:
    write(effects, text)
    return text


def fail(effects: str, times: int) -> str:
    run = jobs.current()
    write(effects, f"run {run.number} at {time.time()}")
    if len(lines(effects)) <= times:
        raise RuntimeError(f"bad luck\0{len(lines(effects))}\ud800")
    return "well"


def throw() -> None:
    raise Expected("as announced")


def misuse() -> None:
    from cloudmesh_actors import site

    site.current().nodes("x999")


def sleep(effects: str, seconds: float) -> str:
    write(effects, "begin")
    time.sleep(seconds)
    write(effects, "end")
    return "slept"


def gate(effects: str, opens: str, then_fails: int) -> str:
    """Waits until the file `opens` is there; its first `then_fails` runs fail then."""
    write(effects, "begin")
    while not Path(opens).exists():
        time.sleep(0.02)
    if len(lines(effects)) <= then_fails:
        raise RuntimeError("bad luck")
    return "through"


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def walk(effects: str, steps: int, pause: float) -> int:
    run = jobs.current()
    done = len(run.outcomes())
    for number in range(done, steps):
        run.checkpoint()
        write(effects, f"step {number} in run {run.number} by {os.getpid()}")
        time.sleep(pause)
        run.outcome(f"n{number}", ok=True)
        run.progress(number + 1, steps, f"n{number}")
    return steps


def each(names: list[str], pause: float) -> list[dict[str, Any]]:
    def work(name: str) -> dict[str, Any]:
        time.sleep(pause)
        return {"value": name.upper()}

    return fanout.each(names, work, width=4, run=jobs.current())


def parent(children: int, failing: int, effects: str, pause: float = 0, late: int = 0) -> None:
    for number in range(children):
        family.note.send(effects, f"child {number}")
    for number in range(failing):
        family.fail.send_with_options(args=(f"{effects}.{number}", 99), max_retries=0)
    time.sleep(pause)
    for number in range(late):
        family.note.send(effects, f"late child {number}")


def die(effects: str, times: int) -> int:
    run = jobs.current()
    write(effects, f"run {run.number}")
    if len(lines(effects)) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return run.number


def switch(effects: str, node: str, deadly: str) -> dict[str, Any]:
    """Changes hardware: a mark, a command, an outcome; `deadly` is where the first run dies."""
    run = jobs.current()
    marks, outcomes = run.marks(), sorted(run.outcomes())
    write(effects, f"run {run.number} marks {marks} outcomes {outcomes}")
    if deadly == "fails":
        raise RuntimeError("the hardware says no")
    run.outcome("before", ok=True)
    run.mark(node, "off sent")
    if run.number == 1 and deadly == "after the mark":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"marks": marks, "outcomes": outcomes, "run": run.number}


FUNCTIONS = [add, nothing, echo, echo_result, unspeakable, note, sleep, gate, spin, walk, each, parent, die, misuse]

family = SimpleNamespace()


@contextmanager
def declared() -> Iterator[SimpleNamespace]:
    """The actors, as attributes; gone from the registry afterwards."""
    made = [actor(QUEUE)(function) for function in FUNCTIONS]
    made.append(actor(QUEUE, min_backoff=50, max_backoff=200)(fail))
    made.append(actor(QUEUE, throws=(Expected,))(throw))
    made.append(actor(QUEUE, changes_hardware=True)(switch))
    for each_actor in made:
        setattr(family, each_actor.__name__, each_actor)
    try:
        yield family
    finally:
        for each_actor in made:
            del ACTORS[each_actor.actor_name]
