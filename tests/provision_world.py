"""Provisionings under test: jobs in a store of the test's own, workers that are killed, and nodes that boot."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cobbler_server import PROFILES, CobblerServer, DummyNode
from cobbler_server import USER as COBBLER_USER
from ipmi_farm import USER, RealBmc

from cloudmesh_actors import runs, settings, steps, store
from cloudmesh_actors.provisioner import drivers, records, stepping
from cloudmesh_actors.provisioner.model import DriverName, Provisioning

#: How long anything may take on a machine that has much else to do, in seconds.
DEADLINE_S = 90.0

#: The longest wait between two looks that a test waits for.
LONGEST_PAUSE_S = 0.05

#: Workers are forked from a process that has everything imported.
_workers = multiprocessing.get_context("forkserver")
_workers.set_forkserver_preload(["provision_world", "cloudmesh_actors.provisioner.drivers.cobbler",
                                 "cloudmesh_actors.provisioner.drivers.ipmi", "cloudmesh_actors.clients.ipmi.lan",
                                 "cloudmesh_actors.clients.cobbler.remote"])  # fmt: skip

_looking = (
    threading.Lock()
)  # `start` looks at all that were started; of two threads that look at one, one reads nothing


def add_job(job_id: str) -> None:
    """A job that has begun, as far as the store knows."""
    numbers = dict.fromkeys(("open_steps", "failed_steps", "aborted_steps", "runs", "enqueued_at"), 0)
    row = {"id": job_id, "root_id": job_id, "actor": stepping.ACTOR, "queue": "provisioner", "arguments": "{}"}
    with store.current().write() as connection:
        connection.execute(sa.insert(steps.steps).values({**numbers, **row, "state": "running"}))


def end_job(job_id: str, state: str = "aborted") -> None:
    """The job has ended."""
    ended = sa.update(steps.steps).where(steps.steps.c.id == job_id).values(state=state, job_ended_at=time.time())
    with store.current().write() as connection:
        connection.execute(ended)


def run_of(job_id: str, node: str, number: int = 1) -> runs.RecordedRun:
    """A run of a step for a node, as a worker begins it."""
    run = runs.RecordedRun(
        store.current(), job_id=job_id, step_id=f"{job_id}/{node}", number=number, stopping=runs.StopSignal()
    )
    runs.enter(run)
    return run


def request(job_id: str, node: str, image: str, driver: DriverName | None = None, wait_lease: float = 0) -> None:
    """What a job's first step does."""
    add_job(job_id)
    stepping.request(run_of(job_id, node), (node,), image, driver, wait_lease)


def go_on(job_id: str, node: str, number: int = 1) -> Provisioning:
    """Do all the steps that are left, as workers do, but without much waiting; gives how it ended."""
    run = run_of(job_id, node, number)
    end = time.monotonic() + DEADLINE_S
    try:
        while (wait := stepping.step(run, node)) is not None:
            assert time.monotonic() < end, records.get(job_id, node)
            time.sleep(min(wait, LONGEST_PAUSE_S))
    finally:
        runs.leave()
    found = records.get(job_id, node)
    assert found is not None
    return found


# -- workers that die


class Points:
    """Everything of a provisioning that may be the last thing a worker does; it dies at one of them.

    A point is called after what it is before or after, and the how manieth of these it is.
    """

    def __init__(self, fatal: str | None) -> None:
        self.passed: list[str] = []
        self._fatal, self._times = fatal, Counter[str]()

    def passing(self, what: str) -> None:
        """Here it may die."""
        self._times[what] += 1
        point = f"{what} {self._times[what]}"
        if point == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed.append(point)

    def around(self, what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Work with a point before and one after it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.passing(f"before {what}")
            done = work(*args, **kwargs)
            self.passing(f"after {what}")
            return done

        return wrapped

    def install(self) -> None:
        """Count every commit, and every command to the node."""
        for name in ("change", "enter", "take_turn"):
            setattr(records, name, self.around(f"records.{name}", getattr(records, name)))
        connect = drivers.connect

        def connected(*args: Any) -> Any:
            driver = connect(*args)
            for name in ("prepare", "switch", "put_back"):
                setattr(driver, name, self.around(f"driver.{name}", getattr(driver, name)))
            return driver

        drivers.connect = connected


def _work(environment: dict[str, str], job_id: str, node: str, number: int, fatal: str | None, told: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CLOUDMESH_")]:  # of the test that came first
        del os.environ[name]
    os.environ.update(environment)
    settings.reset()
    points = Points(fatal)
    points.install()
    go_on(job_id, node, number)
    told.write_text("\n".join(points.passed))


def worker(job_id: str, node: str, number: int, fatal: str | None, told: Path) -> Any:
    """A worker of its own that dies at one point, or writes into `told` which ones it has passed."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("CLOUDMESH_")}
    process = _workers.Process(target=_work, args=(environment, job_id, node, number, fatal, told))
    with _looking:
        process.start()
    return process


def ended(process: Any) -> int:
    """The exit code of a worker, when it has ended."""
    until = time.monotonic() + DEADLINE_S
    while True:
        with _looking:
            code: int | None = process.exitcode
        if code is not None:
            return code
        assert time.monotonic() < until, "the worker goes on and on"
        time.sleep(0.02)


def points_of(job_id: str, node: str, told: Path) -> list[str]:
    """The points that an undisturbed provisioning passes."""
    process = worker(job_id, node, 1, None, told)
    code = ended(process)
    assert code == 0, code
    return told.read_text().splitlines()


def killed_and_resumed(job_id: str, node: str, fatal: str, told: Path) -> tuple[bool, Provisioning]:
    """Have one worker die at a point, and another go on; whether it did die, and how it ended."""
    first = worker(job_id, node, 1, fatal, told)
    code = ended(first)
    if code == 0:
        died = False
    else:
        assert code == -signal.SIGKILL, code
        died = True
        second = worker(job_id, node, 2, None, told)
        code = ended(second)
        assert code == 0, code
    found = records.get(job_id, node)
    assert found is not None
    return died, found


def killed_at(
    nodes: Sequence[str], driver: DriverName, image: str, folder: Path, *, only: str = "", at_once: int = 4
) -> list[tuple[str, str, Provisioning]]:
    """Show the points on the first node, and kill the worker of each other node at one of them, as far as they go.

    Gives point, node and end of each whose worker was killed. `only` are words in the names of the points to take.
    """
    for node in nodes:
        request(f"job-{node}", node, image, driver)
    first, *others = nodes
    points = [point for point in points_of(f"job-{first}", first, folder / first) if only in point]
    points.sort(key=lambda point: "driver" not in point)  # of many looks at a slow node the last ones are left out
    with ThreadPoolExecutor(at_once) as pool:
        going = [
            (point, node, pool.submit(killed_and_resumed, f"job-{node}", node, point, folder / node))
            for point, node in zip(points, others, strict=False)
        ]
        ends = [(point, node, *future.result()) for point, node, future in going]
    return [(point, node, it) for point, node, died, it in ends if died]


# -- nodes


#: How often a node looks at its power, in seconds.
LOOK_EVERY_S = 0.1


def comes_on_again(file: Path, on: str, stopping: threading.Event) -> bool:
    """Wait until a node was off and is on; its power is a file. False when the test is over before.

    It may be off for less than a look: then the file was written since.
    """
    before = file.stat().st_mtime_ns
    while file.stat().st_mtime_ns == before or file.read_text().strip() != on:
        if stopping.wait(LOOK_EVERY_S):
            return False
    return True


class BootedNode:
    """The node of a real BMC: it answers on SSH once it was off and came on again."""

    def __init__(self, bmc: RealBmc) -> None:
        self.bmc = bmc
        self.greeting = b"SSH-2.0-just-installed\r\n"
        self._listener = socket.socket()
        self._listener.bind((bmc.address, 0))
        self.address, self.port = bmc.address, int(self._listener.getsockname()[1])
        self._stopping = threading.Event()
        self._serve = self._greet

    def site(self, node: str) -> tuple[str, str]:
        """Its lines of `bmcs` and `hosts`."""
        bmc = f"address: {self.bmc.address}, port: {self.bmc.port}, user: {USER}, password: {{env: CLOUDMESH_BMC}}"
        return (
            f"  {node}: {{{bmc}}}",
            f"  {node}: {{address: {self.address}, port: {self.port}, user: root}}",
        )

    def starts(self, server: Callable[[], None], address: str, port: int) -> None:
        """Have another server than its own greet, at an address of its own."""
        self._listener.close()
        self._serve, self.address, self.port = server, address, port

    @contextmanager
    def going(self) -> Iterator[BootedNode]:
        """While the block runs it boots when it comes on."""
        thread = threading.Thread(target=self._boot)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            with suppress(OSError):  # it waits for connections, or never did
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join()

    def _boot(self) -> None:
        if comes_on_again(self.bmc.folder / "power", "1", self._stopping):
            self._serve()

    def _greet(self) -> None:
        with suppress(OSError):  # it is stopped
            self._listener.listen()
            while not self._stopping.is_set():
                connection, _ = self._listener.accept()
                with connection:
                    connection.sendall(self.greeting)


@contextmanager
def booting(machines: list[RealBmc]) -> Iterator[list[BootedNode]]:
    """Nodes that boot when they are switched on."""
    with ExitStack() as stack:
        yield [stack.enter_context(BootedNode(machine).going()) for machine in machines]


@contextmanager
def installing(nodes: Sequence[DummyNode]) -> Iterator[None]:
    """Nodes of a Cobbler that install themselves once when they come on again, if they are to."""
    stopping = threading.Event()

    def boot(node: DummyNode) -> None:
        is_on = comes_on_again(node.power_file, "on", stopping)
        if is_on and node.server.is_netboot(node.name):
            node.install()

    threads = [threading.Thread(target=boot, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def cobbler_site(server: CobblerServer, nodes: Sequence[str]) -> str:
    """A site of nodes that are provisioned by a Cobbler."""
    secret = "{env: CLOUDMESH_COBBLER}"
    lines = [f"  main: {{url: '{server.url}', user: {COBBLER_USER}, password: {secret}, systems: '{','.join(nodes)}'}}"]
    provision = [f"  {name}: cobbler" for name in nodes]
    parts = ["clusters:", f"  delta: {{nodes: '{','.join(nodes)}'}}", "cobblers:", *lines, "provision:", *provision]
    return "\n".join([*parts, "images:", f"  hpc: {{cobbler_profile: {PROFILES[1]}}}"]) + "\n"


def ipmi_site(nodes: dict[str, BootedNode]) -> str:
    """A site of nodes that are provisioned through their BMCs."""
    lines = {name: node.site(name) for name, node in nodes.items()}
    bmcs, hosts = (list(part) for part in zip(*lines.values(), strict=True))
    provision = [f"  {name}: ipmi" for name in nodes]
    images = ["images:", "  hpc: {}"]
    return "\n".join(["bmcs:", *bmcs, "hosts:", *hosts, "provision:", *provision, *images]) + "\n"
