"""A private PostgreSQL for tests: on a unix socket, in a folder of its own, gone when the tests end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import require

READY_S = 20.0

#: Nothing here outlives the tests, so nothing needs to reach the disk.
OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=100")


@contextmanager
def server() -> Iterator[str]:
    """Run a server; gives the URL of its database `postgres`."""
    initdb, postgres = require("initdb"), require("postgres")
    folder = Path(tempfile.mkdtemp(prefix="cm-pg-", dir="/tmp"))
    try:
        _give_to_server(folder)
        run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **_user()}
        subprocess.run([initdb, "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync"], **run)
        with _running(postgres, folder):
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(postgres: Path, folder: Path) -> Iterator[None]:
    options = [part for option in OPTIONS for part in ("-c", option)]
    command = [postgres, "-D", folder / "data", "-k", folder, *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **_user())
    try:
        _wait_until_ready(folder, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")


def _user() -> dict[str, str]:
    """PostgreSQL refuses to run as root; Debian's package makes a user for it."""
    return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}


def _give_to_server(folder: Path) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
