"""A disk that can be filled: a small tmpfs in a mount namespace of its own, which the scenario runs in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos import running
from chaos.found import Found
from chaos.scenarios import Scenario

SIZE = "48m"


class CannotMount(Exception):
    """This user may make no mount namespaces."""


def run(name: str, scenario: Scenario, broker: str, seed: int) -> Found:
    """Run a scenario; one that wants a small disk in a process that has one. Raises CannotMount."""
    if not scenario.on_small_disk:
        return running.run(name, scenario, broker, seed)
    with tempfile.TemporaryDirectory(prefix="cm-disk-", dir="/tmp") as folder:
        outcome = Path(folder) / "found"
        disk = Path(folder) / "disk"
        disk.mkdir()
        (Path(folder) / "task").write_bytes(pickle.dumps((name, scenario.scaled(None, None), broker, seed)))
        program = f'mount -t tmpfs -o size={SIZE} tmpfs "$1/disk" && exec "$2" -m chaos.smalldisk "$1"'
        command = [*_unshare(), "sh", "-c", program, "sh", folder, sys.executable]
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False)
        if not outcome.exists():
            raise RuntimeError(f"the run on a small disk ended with {done.returncode}")
        found: Found = pickle.loads(outcome.read_bytes())
        return found


def _unshare() -> list[str]:
    for how in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        test = 'mount -t tmpfs -o size=1m tmpfs "$1"'
        with tempfile.TemporaryDirectory(prefix="cm-disk-", dir="/tmp") as folder:
            if subprocess.run([*how, "sh", "-c", test, "sh", folder], check=False, capture_output=True).returncode == 0:
                return how
    raise CannotMount("a disk that can be filled needs a mount namespace: run this as root")


def main(folder: Path) -> None:
    """In the namespace: run the scenario with the fleet's logs and state on the disk."""
    name, scenario, broker, seed = pickle.loads((folder / "task").read_bytes())
    found = running.run(name, scenario, broker, seed, folder / "disk" / "logs")
    (folder / "found").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
