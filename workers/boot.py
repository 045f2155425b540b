"""The first steps of every supervised process, taken before anything else is imported: log, parent, pid file.

Only the standard library, so that an error in any import below already lands in NAME.log.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

#: prctl(2): the signal that a process gets when its parent dies. It survives execve(2), but not fork(2).
PR_SET_PDEATHSIG = 1


def log_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of logs and pid files, as `settings` has it but without the cost of importing that."""
    return Path(environ.get("CLOUDMESH_LOG_DIR") or "logs").expanduser().absolute()


def begin(name: str, *, own_log: bool = True) -> PidFile:
    """Make file descriptors 1 and 2 NAME.log, tie this process to its supervisor, and write NAME.pid.

    Args:
        own_log: whether the process writes its log itself; the embedded broker leaves that to supervisord.
    """
    folder = log_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if own_log:
            redirect_output(folder / f"{name}.log")
        if os.environ.get("SUPERVISOR_ENABLED"):
            die_with_parent(os.environ)
        pid_file = PidFile(folder / f"{name}.pid")
        pid_file.write()
    except OSError as error:
        sys.exit(f"{name} cannot start: {error.filename or folder}: {error.strerror}")
    return pid_file


def redirect_output(log: Path) -> None:
    """Let everything this process prints land in `log`, also what C code or a dying interpreter prints."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def die_with_parent(environ: Mapping[str, str], getppid: Callable[[], int] = os.getppid) -> None:
    """Have the kernel kill this process when supervisord dies, so that nothing outlives its supervisor.

    Systems without prctl(2) have `worker` look at its parent instead.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if orphaned(environ, getppid()):
        sys.exit("the supervisor died while this process started")


def orphaned(environ: Mapping[str, str], parent: int) -> bool:
    """Whether the supervisor that started this process is gone already, by supervisord's own pid file."""
    socket = environ.get("SUPERVISOR_SERVER_URL", "").removeprefix("unix://")
    try:
        return int(Path(socket).with_name("supervisord.pid").read_text()) != parent
    except (OSError, ValueError):  # not ours to judge
        return False


class PidFile:
    """NAME.pid, for people to read. Nobody decides by it whom to kill."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self) -> None:
        """Write this process's id; a reader sees the old file or the new one, never a half."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.write_text(f"{os.getpid()}\n")
        fresh.replace(self.path)

    def remove(self) -> None:
        """Remove the file, unless another process has written its own id meanwhile."""
        try:
            if self.path.read_text().strip() == str(os.getpid()):
                self.path.unlink()
        except (OSError, UnicodeDecodeError):
            return
