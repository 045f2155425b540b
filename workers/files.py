"""The files of one fleet, by known names: what it made, the ends of its logs, and how all that is removed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmesh_actors.errors import FleetError, SettingsError
from cloudmesh_actors.settings import Settings, variable

#: How long one command waits for another that is at work on the same fleet, in seconds.
COMMAND_WAIT_S = 120.0


class Manifest:
    """Which logs and pid files this fleet has made in which LOG_DIR: the licence to delete them there.

    Kept in STATE_DIR. A log that lay in LOG_DIR before the fleet first came is somebody else's and is not entered.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "fleet.json"

    def claim(self, log_dir: Path, names: Iterable[str]) -> None:
        """Enter processes that are about to be started."""
        entries = self._read()
        entry = entries.setdefault(os.path.realpath(log_dir), {"pids": [], "logs": []})
        fresh = [name for name in names if name not in entry["pids"]]
        if fresh:
            entry["pids"] += fresh
            entry["logs"] += [name for name in fresh if not os.path.lexists(log_dir / f"{name}.log")]
            self._write(entries)

    def names(self, log_dir: Path) -> list[str]:
        """The processes that were entered for `log_dir`."""
        return self._entry(log_dir)["pids"]

    def files(self, log_dir: Path) -> list[Path]:
        """The fleet's logs, rotated logs and pid files that are in `log_dir` now."""
        entry = self._entry(log_dir)
        mine = [
            *(rf"{re.escape(name)}\.log(\.[1-9][0-9]{{0,3}}|\.tmp)?" for name in entry["logs"]),
            *(rf"{re.escape(name)}\.pid(\.new)?" for name in entry["pids"]),
        ]
        pattern = re.compile("|".join(mine) or "(?!)")
        return sorted(path for path in _regular_files(log_dir) if pattern.fullmatch(path.name))

    def _entry(self, log_dir: Path) -> dict[str, list[str]]:
        return self._read().get(os.path.realpath(log_dir), {"pids": [], "logs": []})

    def _read(self) -> dict[str, dict[str, list[str]]]:
        try:
            return dict(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FleetError(f"{self.path} cannot be read: {error}") from None

    def _write(self, entries: dict[str, dict[str, list[str]]]) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(entries, indent=1) + "\n")
        fresh.replace(self.path)


def remove(paths: Iterable[Path]) -> int:
    """Delete files; those that are gone already do not matter. Returns how many there were."""
    count = 0
    for path in paths:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FleetError(f"{path} cannot be removed: {error.strerror}") from None
        count += 1
    return count


def remove_folder(folder: Path, names: frozenset[str]) -> None:
    """Delete a folder if nothing but these files is in it."""
    if {path.name for path in folder.iterdir()} <= names:
        remove(folder / name for name in names)
        folder.rmdir()


def prepare(settings: Settings) -> None:
    """Make the directories of a fleet. Raises SettingsError with the variable at fault."""
    for field in ("log_dir", "state_dir"):
        folder: Path = getattr(settings, field)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{variable(field)} is {str(folder)!r}, which cannot be made: {error.strerror}"
            ) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(f"{variable(field)} is {str(folder)!r}, where this user may not write")
    (settings.state_dir / "boot").mkdir(exist_ok=True)


def take_lock(path: Path, complaint: str, *, wait_s: float = 0) -> int:
    """Lock a file for this process, and for those it passes the descriptor to; returns the descriptor.

    Raises FleetError with `complaint` when another process keeps the lock for longer than `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if _locked_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise FleetError(complaint)
        time.sleep(0.05)


def _locked_at(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):  # the file was removed meanwhile, and is nobody's lock any more
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one command at a time work on a fleet; the next one waits."""
    lock = take_lock(
        folder / "command.lock",
        "Another command has been at work on this fleet for too long.",
        wait_s=COMMAND_WAIT_S,
    )
    try:
        yield
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True)
class LogMark:
    """A place in a log, to tell later what was written after it."""

    path: Path
    offset: int

    @classmethod
    def end_of(cls, path: Path) -> LogMark:
        """The present end of a log, which need not be there yet."""
        try:
            return cls(path, path.stat().st_size)
        except FileNotFoundError:
            return cls(path, 0)

    def last_lines(self, count: int) -> list[str]:
        """The last lines written since; from the beginning when the file was emptied meanwhile."""
        try:
            with self.path.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                start = self.offset if self.offset <= size else 0
                log.seek(max(start, size - 64_000))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except (FileNotFoundError, IsADirectoryError):
            return []


def _regular_files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield Path(entry.path)
    except FileNotFoundError:
        return
