"""The queue: our jobs beside plain Dramatiq, on Valkey and RabbitMQ, in turns. Medians over the rounds.

python benchmarks/bench_queue.py [--rounds 5] [--messages 4000] [--brokers valkey rabbitmq] [--postgresql]
                                 [--celery PYTHON]

* tasks/s: no-op tasks that wait in the queue, one worker process of 8 threads, prefetch 128. Ours records each job's
  start and end in the store and logs both as a line of JSON; plain Dramatiq does neither.
* CPU/task: what that took of the processor, in the worker.
* send to start: a worker that is idle, a message every 0.25 s; from before `send()` to the task's first line.
* send(): ours commits the job's row first; on RabbitMQ both wait for its confirmation.
* send_many: the median of a message's share of 500 that are sent at once.
* idle: what a worker takes of a core while nothing happens.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

THREADS, PREFETCH = 8, 128
LATENCIES = 40
EVERY_S = 0.25
IDLE_S = 3.0
LATENCY_ROUNDS = 2


class Contestant:
    """One way to run tasks: how a broker is made, and how many have been recorded."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind, self.url = kind, url
        self.ran = 0
        self.starts: list[float] = []
        if kind == "ours":
            self._ours()
        else:
            self._plain(url)

    def _ours(self) -> None:
        from cloudmesh_actors import broker as brokers
        from cloudmesh_actors.actor import actor

        self.broker = brokers.current()
        self.broker.declare_queue("rack")
        self.task = actor("rack", max_retries=0)(self._body())

    def _plain(self, url: str) -> None:
        import dramatiq

        if url.startswith("amqp"):
            from dramatiq.brokers.rabbitmq import RabbitmqBroker

            self.broker = RabbitmqBroker(url=url, confirm_delivery=True)
        else:
            from dramatiq.brokers.redis import RedisBroker

            self.broker = RedisBroker(url=url)
        dramatiq.set_broker(self.broker)
        self.task = dramatiq.actor(queue_name="rack", broker=self.broker, max_retries=0)(self._body())

    def _body(self) -> Callable[[], None]:
        def nothing() -> None:
            self.starts.append(time.monotonic())
            self.ran += 1

        return nothing

    def settle(self) -> None:
        """Until all that ran is recorded and acknowledged."""
        if self.kind == "ours":
            self.broker.recorder().drain(60)


def be_worker(kind: str, url: str, messages: int, told: int) -> None:
    """The worker process: run so many tasks, then tell how long it took, when each began, and the CPU of idling."""
    import dramatiq

    from workers.worker import WORKER_TIMEOUT_MS

    def tell(**what: Any) -> None:
        os.write(told, json.dumps(what).encode() + b"\n")

    if kind == "ours":
        from cloudmesh_actors import logs

        logs.configure("rack", "rack")
    contestant = Contestant(kind, url)
    contestant.broker.emit_after("process_boot")
    worker = dramatiq.Worker(
        contestant.broker, queues={"rack"}, worker_threads=THREADS, worker_timeout=WORKER_TIMEOUT_MS
    )
    worker.queue_prefetch = PREFETCH
    if kind == "ours":
        from cloudmesh_actors.broker.work_queue import WorkQueue

        worker.work_queue = WorkQueue()  # as workers/worker.py does
    worker.start()
    idle = None
    if messages == 0:  # latencies: idle first
        time.sleep(1)
        before = time.process_time()
        time.sleep(IDLE_S)
        idle = (time.process_time() - before) / IDLE_S
    tell(ready=True, idle=idle)
    wanted, before = messages or LATENCIES, time.process_time()
    while contestant.ran < wanted:
        time.sleep(0.02)
    contestant.settle()
    seconds, cpu = time.monotonic() - contestant.starts[0], time.process_time() - before
    tell(seconds=seconds, cpu=cpu, starts=contestant.starts)
    sys.stdin.read(1)
    os._exit(0)


@contextmanager
def worker_process(kind: str, url: str, messages: int, folder: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """A worker; gives what reads the next thing that it tells."""
    read, write = os.pipe()
    log = (folder / "rack.log").open("ab")  # of ours: the log that a worker rotates
    command = [sys.executable, __file__, "--worker", kind, url, str(messages), str(write)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as told:
        yield lambda: json.loads(told.readline() or "{}")
    process.kill()
    process.communicate()
    log.close()


def throughput(kind: str, url: str, messages: int, folder: Path) -> tuple[float, float, float, float]:
    """Tasks a second, CPU of a task in microseconds, the median of `send()` and of a message of 500 in milliseconds."""
    contestant = Contestant(kind, url)
    took, many = [], []
    for _ in range(messages - (messages // 2 if kind == "ours" else 0)):
        began = time.perf_counter()
        contestant.task.send()
        took.append(time.perf_counter() - began)
    sent = len(took)
    while sent < messages:
        number = min(500, messages - sent)
        began = time.perf_counter()
        contestant.task.send_many([()] * number)
        many.append((time.perf_counter() - began) / number)
        sent += number
    close(contestant)
    with worker_process(kind, url, messages, folder) as told:
        assert told()["ready"]
        result = told()
    share = statistics.median(many) * 1000 if many else float("nan")
    return messages / result["seconds"], result["cpu"] / messages * 1e6, statistics.median(took) * 1000, share


def latency(kind: str, url: str, folder: Path) -> tuple[list[float], float]:
    """From `send()` to start in milliseconds, one message after the other; and what idling takes of a core."""
    contestant = Contestant(kind, url)
    with worker_process(kind, url, 0, folder) as told:
        idle = told()["idle"]
        sent = []
        for _ in range(LATENCIES):
            sent.append(time.monotonic())
            contestant.task.send()
            time.sleep(EVERY_S)
        starts = sorted(told()["starts"])
    close(contestant)
    return [(start - send) * 1000 for send, start in zip(sent, starts, strict=True)], idle


def close(contestant: Contestant) -> None:
    from cloudmesh_actors import broker as brokers
    from cloudmesh_actors.actor import ACTORS

    ACTORS.pop("rack.nothing", None)
    brokers.reset()
    if contestant.kind != "ours":
        contestant.broker.close()


def celery_round(python: str, url: str, messages: int) -> tuple[float, ...]:
    """Celery 5, a pool of threads, results off: tasks a second; the rest is not measured."""
    peer = [python, str(Path(__file__).parent / "celery_peer.py")]
    subprocess.run([*peer, "send", url, str(messages)], check=True)
    told = subprocess.run(
        [*peer, "work", url, str(messages)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "C_FORCE_ROOT": "1"},
    )
    seconds = json.loads(re.findall(r'{"seconds".*}', told.stderr)[0])["seconds"]
    nothing = float("nan")
    return messages / seconds, nothing, nothing, nothing, nothing, nothing, nothing


def compete(rounds: int, messages: int, names: list[str], postgresql: bool, celery: str) -> None:
    import brokers as servers

    kinds = {"valkey": servers.ValkeyServer, "rabbitmq": servers.RabbitmqServer}
    rows = [(name, kind, "") for name in names for kind in ("plain", "ours")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cm-bench-")))
        running = {name: stack.enter_context(servers.running(kinds[name])) for name in names}
        if postgresql:
            store = postgresql_store(stack)
            rows += [(name, "ours", store) for name in names]
        if celery:
            rows += [(name, "celery", celery) for name in names]
        results: dict[tuple[str, str, str], list[Any]] = {row: [] for row in rows}
        for number in range(rounds):
            for row in rows:
                results[row].append(
                    one_round(row, running[row[0]], messages, folder / f"{number}", number < LATENCY_ROUNDS)
                )
                print(f"round {number + 1}: {row[0]} {row[1]} {results[row][-1][0]:.0f}/s", file=sys.stderr)
    show(results, rounds, messages)


def postgresql_store(stack: ExitStack) -> str:
    import postgresql

    from cloudmesh_actors.store import Store

    url = stack.enter_context(postgresql.server())
    store = Store(url, check_schema=False)
    store.upgrade()
    store.close()
    return url


def one_round(
    row: tuple[str, str, str], server: Any, messages: int, folder: Path, with_latency: bool
) -> tuple[float, ...]:
    from cloudmesh_actors import settings, store

    _, kind, store_url = row
    if kind == "celery":
        server.wipe()
        return celery_round(store_url, server.url, messages)
    folder.mkdir(exist_ok=True)
    os.environ |= {"CLOUDMESH_BROKER_URL": server.url, "CLOUDMESH_LOG_DIR": str(folder)}
    os.environ.pop("CLOUDMESH_STORE_URL", None)
    if store_url:
        os.environ["CLOUDMESH_STORE_URL"] = store_url
    store.reset()
    settings.reset()
    server.wipe()
    rate, cpu, send, many = throughput(kind, server.url, messages, folder)
    if not with_latency:
        return rate, cpu, send, many, *[math.nan] * 3
    server.wipe()
    waits, idle = latency(kind, server.url, folder)
    return rate, cpu, send, many, statistics.median(waits), max(waits), idle * 100


def show(results: dict[tuple[str, str, str], list[tuple[float, ...]]], rounds: int, messages: int) -> None:
    print(f"{rounds} rounds of {messages} tasks, {os.cpu_count()} cores, load of the machine {os.getloadavg()[0]:.1f}")
    print(f"{'':34}{'tasks/s':>9}{'CPU/task':>10}{'send()':>8}{'of many':>9}{'send to start, ms':>21}{'idle':>8}")
    print(f"{'':34}{'':>9}{'us':>10}{'ms':>8}{'ms':>9}{'median':>12}{'longest':>9}{'% core':>8}")
    for (name, kind, store), rows in results.items():
        who = {"plain": "plain Dramatiq", "celery": "Celery 5", "ours": "jobs" + (" in PostgreSQL" if store else "")}
        rate, cpu, send, many, median, longest, idle = (median_of(column) for column in zip(*rows, strict=True))
        shown = f"{rate:9.0f}{cpu:10.0f}{send:8.2f}{many:9.2f}{median:12.1f}{longest:9.1f}{idle:8.2f}"
        print(f"{name + ', ' + who[kind]:34}" + shown.replace("nan", "  -"))


def median_of(column: Sequence[float]) -> float:
    """The median of what was measured; NaN when nothing was."""
    known = [number for number in column if not math.isnan(number)]
    return statistics.median(known) if known else math.nan


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        be_worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--brokers", nargs="+", default=["valkey", "rabbitmq"], choices=["valkey", "rabbitmq"])
    parser.add_argument("--postgresql", action="store_true", help="also with PostgreSQL as store")
    parser.add_argument("--celery", default="", metavar="PYTHON", help="an interpreter that has celery[redis]")
    given = parser.parse_args()
    compete(given.rounds, given.messages, given.brokers, given.postgresql, given.celery)
