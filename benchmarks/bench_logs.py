"""What logging costs: the two lines of a task, from 1 and from 8 threads, against stdlib logging and a bare write.

python benchmarks/bench_logs.py [SECONDS]
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

#: One task's beginning and end.
Task = Callable[[int], None]


def ours() -> Task:
    from cloudmesh_actors import logs

    logs.configure("rack", "rack")
    return _two_lines()


def ours_with_secrets() -> Task:
    from cloudmesh_actors.logs import redact

    for number in range(1000):
        redact.register(f"pass/word-{number:04d}")
    return ours()


def _two_lines() -> Task:
    import structlog
    from structlog.contextvars import bind_contextvars

    log = structlog.get_logger()

    def task(number: int) -> None:
        bind_contextvars(job_id="0b5b9a4e-55c1-4b5e-8f0c-0d5a1a4f6f3e", actor="rack.read_sensors", run=1)
        log.info("job started", nodes=64)
        log.info("job done", nodes=64, number=number, seconds=0.25)

    return task


def prints() -> Task:
    from cloudmesh_actors import logs

    logs.configure("rack", "rack")

    def task(number: int) -> None:
        print("job started", 64)
        print("job done", number)

    return task


class JsonFormatter(logging.Formatter):
    """The least that gives the same keys with the standard library."""

    def format(self, record: logging.LogRecord) -> str:
        event = {"timestamp": self.formatTime(record), "level": record.levelname, "event": record.getMessage()}
        return json.dumps({**event, "worker": "rack", "queue": "rack", **record.__dict__["fields"]})


def stdlib() -> Task:
    handler = logging.FileHandler(os.environ["BENCH_FILE"])
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("bench")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    bound = {"job_id": "0b5b9a4e-55c1-4b5e-8f0c-0d5a1a4f6f3e", "actor": "rack.read_sensors", "run": 1}

    def task(number: int) -> None:
        logger.info("job started", extra={"fields": {**bound, "nodes": 64}})
        logger.info("job done", extra={"fields": {**bound, "nodes": 64, "number": number, "seconds": 0.25}})

    return task


def bare() -> Task:
    line = b"x" * 220 + b"\n"

    def task(_number: int) -> None:
        os.write(1, line)
        os.write(1, line)

    return task


CANDIDATES = {
    "cloudmesh_actors.logs": ours,
    "the same, 1000 secrets known": ours_with_secrets,
    "print": prints,
    "stdlib logging, json.dumps": stdlib,
    "os.write alone": bare,
}


def measure(name: str, threads: int, seconds: float) -> None:
    """In a child whose descriptors 1 and 2 are a log: write for `seconds`, and the rate to BENCH_RESULT."""
    task = CANDIDATES[name]()
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < end:
            task(counts[index])
            counts[index] += 1

    pool = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    before = time.perf_counter()
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    Path(os.environ["BENCH_RESULT"]).write_text(str(2 * sum(counts) / (time.perf_counter() - before)))


def rate(name: str, threads: int, seconds: float) -> float:
    """Lines a second of one candidate."""
    with tempfile.TemporaryDirectory() as directory:
        log, result = Path(directory) / "rack.log", Path(directory) / "result"
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        environ = {"CLOUDMESH_LOG_DIR": directory, "BENCH_FILE": str(log), "BENCH_RESULT": str(result)}
        command = [sys.executable, __file__, "child", name, str(threads), str(seconds)]
        subprocess.run(command, stdout=fd, stderr=fd, env={**os.environ, **environ}, check=True)
        os.close(fd)
        return float(result.read_text())


def main(seconds: float) -> None:
    """Print a table."""
    print(f"{'lines a second':<32}{'1 thread':>12}{'8 threads':>12}")
    for name in CANDIDATES:
        rates = [rate(name, threads, seconds) for threads in (1, 8)]
        print(f"{name:<32}" + "".join(f"{number:>12,.0f}" for number in rates))


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        measure(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
