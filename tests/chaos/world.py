"""One broker, one store, one supervised fleet, in private folders; and what is known of them from outside."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import brokers as servers
import psutil
from brokers import Server
from fleets import FleetUnderTest, fleet, is_alive

from chaos.servers import BROKERS, EMBEDDED, EmbeddedServer, PostgresqlServer
from chaos.told import Hit, Told

HERE = Path(__file__).parent

#: Where Python finds `sitecustomize`, which makes the actors of chaos known to the fleet's workers.
PLUGIN = HERE / "plugin"

#: How long the fleet may take to come to an end with all that was sent, in seconds.
SETTLED_S = 240.0

#: Processes of the fleet are looked at so often, in seconds.
LOOK_S = 0.25


class Worker(NamedTuple):
    """A worker that runs; its age in seconds."""

    state: str
    pid: int
    age: float


class World:
    """A running fleet, its broker and its store."""

    def __init__(
        self,
        folder: Path,
        server: Server | EmbeddedServer,
        it: FleetUnderTest,
        store: PostgresqlServer | None,
        size: int,
    ) -> None:
        self.folder, self.server, self.fleet, self.store, self.size = folder, server, it, store, size
        self._counting, self._counted_to, self._effects = threading.Lock(), 0, 0

    def told(self) -> Told:
        """What the tasks have told so far."""
        return Told.read(self.folder)

    def workers(self) -> dict[str, Worker]:
        """The workers that run as supervisord sees them, by name."""
        found, now = self.fleet.supervisor().processes().values(), time.time()
        return {p.name: Worker(p.state, p.pid, now - p.started_at) for p in found if p.name[:4] == "rack" and p.pid}

    def is_able(self) -> bool:
        """Whether more than half of the workers are ready: kills that come faster than the machine can start workers
        would only show that."""
        from cloudmesh_actors import roster
        from cloudmesh_actors.errors import StoreUnavailable

        pids = {worker.pid for worker in self.workers().values()}
        try:
            ready = [row for row in roster.rows() if row.pid in pids and row.ready_at]
        except StoreUnavailable:
            return False
        return len(ready) > self.size // 2

    def effects(self) -> int:
        """How many effects were told so far."""
        path = self.folder / "told"
        if path.exists():
            with self._counting, path.open("rb") as file:
                file.seek(self._counted_to)
                new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                self._counted_to += len(whole)
                self._effects += sum(line.startswith(b"e ") for line in whole.splitlines())
        return self._effects

    def has_begun(self, name: str, pid: int) -> bool:
        """Whether a worker's process has come so far that it has written its pid file."""
        file = self.fleet.log_dir / f"{name}.pid"
        return file.exists() and file.read_text().strip() == str(pid)

    def await_ready(self, timeout_s: float = 180.0) -> None:
        """Until all workers are ready, started anew by supervisord if need be; Raises TimeoutError."""
        wait_until(lambda: all(w.state == "ready" for w in self._status() if w.queue == "rack"), timeout_s, self.states)

    def states(self) -> str:
        """How the workers are, in words."""
        return ", ".join(f"{worker.name} {worker.state}" for worker in self._status())

    def up_again(self) -> bool:
        """Do what an operator does when supervisord has given up on a process; whether that was needed."""
        from cloudmesh_actors.errors import FleetError

        try:
            states = {process.state for process in self.fleet.supervisor().processes().values()}
        except FleetError:  # it is late with its answer
            return False
        if "FATAL" not in states:
            return False
        self.fleet.run("up", check=False)
        return True

    def _status(self) -> list[Any]:
        from workers import fleet as fleets

        return [*fleets.status()]

    def open_steps(self) -> Counter[str]:
        """Steps that are queued or running, by state."""
        return Counter({state: n for (state, _), n in self.steps().items() if state in ("queued", "running")})

    def steps(self) -> Counter[tuple[str, str]]:
        """All steps by state and type of error."""
        import sqlalchemy as sa

        from cloudmesh_actors import steps, store

        table = steps.steps.c
        query = sa.select(table.state, table.error_type, sa.func.count()).group_by(table.state, table.error_type)
        with store.current().read() as connection:
            return Counter({(state, kind or ""): n for state, kind, n in connection.execute(query)})

    def depth(self) -> tuple[int, int, int | None, int]:
        """Messages ready, delayed, running, set aside."""
        from cloudmesh_actors import broker

        found: tuple[int, int, int | None, int] = broker.current().depth("rack")
        return found

    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return not self.open_steps() and self.depth()[:2] == (0, 0)

    def await_settled(self, timeout_s: float = SETTLED_S) -> bool:
        """Until nothing is left to do; False when that took too long."""
        with suppress(TimeoutError):
            wait_until(self.settled, timeout_s, lambda: "it is not settled")
            return True
        return False

    def lines(self, *events: str) -> Counter[str]:
        """Lines of these events, by worker."""
        return Counter(log.stem for log in self._logs() for line in _parsed(log) if line.get("event") in events)

    def ready_at(self, hits: list[Hit]) -> list[float]:
        """Seconds from each hit until the worker of that name was ready again."""
        found = {
            log.stem: [seconds_of(line) for line in _parsed(log) if line.get("event") == "worker.ready"]
            for log in self._logs()
        }
        after = [[at - hit.at for at in found.get(hit.name, ()) if at > hit.at] for hit in hits]
        return [min(waits) for waits in after if waits]

    def exits(self) -> Counter[str]:
        """How workers ended, in supervisord's words."""
        text = "".join(
            path.read_text() for path in sorted((self.fleet.log_dir / "state").glob("supervisord.log*"), reverse=True)
        )
        return Counter(
            line.partition("(")[2].partition(";")[0] for line in text.splitlines() if " exited: rack" in line
        )

    def stale_pid_files(self) -> list[str]:
        """Pid files that name no process of this fleet."""
        mine = {process.pid for process in self.processes()}
        return [path.name for path in self.fleet.log_dir.glob("*.pid") if int(path.read_text()) not in mine]

    def processes(self) -> list[psutil.Process]:
        """Every process on this machine that belongs to the fleet, whoever is its parent."""
        return [process for process in psutil.process_iter() if is_alive(process) and _belongs(process, self.fleet)]

    def _logs(self) -> Iterator[Path]:
        return self.fleet.log_dir.glob("*.log")


@contextmanager
def world(
    broker: str | Server,
    *,
    workers: int = 6,
    threads: int = 8,
    postgresql: bool = False,
    log_dir: Path | None = None,
    **settings: object,
) -> Iterator[World]:
    """A fleet that is up, in this process's environment; nothing is left of it after the block.

    Args:
        broker: its kind, or one that runs.
        log_dir: where the fleet's logs and state are, if not in a private folder.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cm-chaos-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("machines", "nodes"):
            (folder / name).mkdir()
        server = _server(stack, broker)
        if server is not None:
            settings["BROKER_URL"] = server.url
        store = None
        if postgresql:
            store = stack.enter_context(servers.running(PostgresqlServer))
            settings["STORE_URL"] = store.url
        path = os.pathsep.join(filter(None, (str(PLUGIN), os.environ.get("PYTHONPATH"))))
        _set(stack, CHAOS_FOLDER=str(folder), PYTHONPATH=path)
        it = stack.enter_context(
            fleet(
                log_dir or folder / "logs", WORKERS=f"rack={workers}", THREADS=threads,
                RETRY_BACKOFF="0.1", **settings,
            )
        )  # fmt: skip
        assert it.runtime_dir  # asked for later, by a thread, it would change the environment of all
        with it.here() as here:
            import chaos.actors  # noqa: F401

            here.up()
            yield World(
                folder,
                server or EmbeddedServer(it),
                it,
                store if isinstance(store, PostgresqlServer) else None,
                workers,
            )


def _server(stack: ExitStack, broker: str | Server) -> Server | None:
    if isinstance(broker, Server):
        return broker
    return None if broker == EMBEDDED else stack.enter_context(servers.running(BROKERS[broker]))


def wait_until(condition: Callable[[], object], timeout_s: float, why: Callable[[], str]) -> None:
    """Until something holds; a peer that does not answer is asked again. Raises TimeoutError."""
    from cloudmesh_actors.errors import BrokerUnavailable, FleetError, StoreUnavailable

    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(BrokerUnavailable, StoreUnavailable, FleetError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(why())
        time.sleep(LOOK_S)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def seconds_of(line: dict[str, Any]) -> float:
    """The time of a line of a log, in seconds since the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _parsed(log: Path) -> Iterator[dict[str, Any]]:
    for text in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict):
                yield line


def _belongs(process: psutil.Process, it: FleetUnderTest) -> bool:
    try:
        command = process.cmdline()
        if any(str(it.runtime_dir) in word for word in command):  # supervisord, and the embedded broker
            return True
        return "workers" in command and process.environ().get("CLOUDMESH_LOG_DIR") == str(it.log_dir)
    except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def _set(stack: ExitStack, **variables: str) -> None:
    for name, value in variables.items():
        before = os.environ.get(name)
        os.environ[name] = value
        if before is None:
            stack.callback(os.environ.pop, name, None)
        else:
            stack.callback(os.environ.__setitem__, name, before)
