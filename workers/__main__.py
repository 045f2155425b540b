"""``python -m workers COMMAND`` drives the fleet; ``python -m workers NAME`` is one process of it, in the foreground.

A process of the fleet imports only the standard library until its log is open: see `boot`.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from importlib import import_module
from typing import NoReturn

from workers import boot
from workers.signals import StopRequest

#: What drives the fleet; see `command`.
COMMANDS = frozenset({"up", "down", "restart", "status", "clean", "run", "web-up", "web-down"})

#: The form of a process's name; commands are looked for first.
NAME = re.compile(r"[a-z]+[0-9]{0,2}")

#: Processes that are no workers, each a module of its own.
OTHERS = frozenset({"beat", "valkey", "web"})


def main(arguments: list[str]) -> int:
    """Run the command or the process that is named; returns its exit code."""
    first = arguments[0] if arguments else ""
    if first in COMMANDS or not NAME.fullmatch(first):
        from workers import command

        return command.run(arguments)
    return process(first)


def process(name: str) -> int:
    """Be a process of the fleet until it is asked to stop. Each has a module with ``run(name, stop) -> int``."""
    gc.disable()  # until `process.settle`: a tenth of the time of all imports is spent looking for garbage
    stop = StopRequest()
    pid_file = boot.begin(name, own_log=name != "valkey")
    try:
        import_structlog()
        module = import_module(f"workers.{name if name in OTHERS else 'worker'}")
        return int(module.run(name, stop))
    finally:
        pid_file.remove()


def import_structlog() -> None:
    """Import structlog as if rich, which it wants for consoles, were not there: a seventh of the time to start."""
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


def end(code: int) -> NoReturn:
    """End this process, without waiting for a task that outlived the grace time: its message is no longer ours."""
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
