"""The programs for sh(1) by which scripts are started, looked at and ended, here and on other hosts.

They are the same everywhere and hold nothing of a script: names, words and values come to them as arguments. A script
has a folder of its own, and in it ::

    script     the file that is run, if it is one
    begun      a directory: whoever makes it decides, to begin or that it never will
    keeper     the process that waits for the script, by id and start time
    group      the script's process group, by the id and start time of its leader
    command    the number of the argument list that runs
    output     the beginning of what it prints
    tail       the end, if it printed more
    status     "ended COMMAND STATUS", "late" or "killed", written last
    drained    all of the output is there
    aborted    somebody wants it to end

A host needs sh(1), setsid(1), the timeout(1) of GNU coreutils, whose children are a process group, and proc(5).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

#: How the program `start` ends when a script of that name was started before.
STARTED_BEFORE = 17

#: Programs that use what is in common.sh.
_WITH_COMMON = ("script", "keeper", "look", "abort")


@cache
def program(name: str) -> str:
    """The text of a program: start, keeper, script, look, tail, abort or forget."""
    own = _read(name)
    return _read("common") + own if name in _WITH_COMMON else own


def _read(name: str) -> str:
    return files("cloudmesh_actors.clients.shell").joinpath(f"{name}.sh").read_text()
