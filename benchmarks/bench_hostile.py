"""Hostile messages among good ones, on Valkey and RabbitMQ: they are to be set aside, the good ones all done.

python benchmarks/bench_hostile.py [--count 10000] [--seed 1] [--brokers valkey rabbitmq]

Signatures are on. Each hostile message is one of thirteen kinds (see tests/hostile.py); there is a good one for every
ten of them, and half of these are delayed by a second. One worker process of 8 threads. Also what a signature costs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

DEADLINE_S = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brokers", nargs="+", default=["valkey", "rabbitmq"], choices=["valkey", "rabbitmq"])
    options = parser.parse_args()
    print(signature_cost())
    print(f"{'broker':10} {'hostile':>8} {'set aside':>10} {'good':>6} {'done':>6} {'seconds':>8} {'worker died':>12}")
    return max(trial(name, options.count, options.seed) for name in options.brokers)


def signature_cost() -> str:
    import hostile

    from cloudmesh_actors.broker.encoder import StrictEncoder

    options = {"recorded": True, "root": "r" * 36}
    message: Any = hostile.fields(hostile.random.Random(0), args=["i[001-064]"], options=options)
    each = []
    for encoder in (StrictEncoder(), StrictEncoder(hostile.fleet)):
        body = encoder.encode(message)
        each.append((best(lambda e=encoder: e.encode(message)), best(lambda e=encoder, b=body: e.decode(b))))
    (encode, decode), (sign, verify) = each
    size = len(StrictEncoder().encode(message))
    return (
        f"to encode a message of {size} bytes takes {encode:.1f} µs, signed {sign:.1f}; "
        f"to decode it {decode:.1f} µs, verified {verify:.1f}\n"
    )


def best(call: Any) -> float:
    return min(timeit.repeat(call, number=5_000, repeat=5)) / 5_000 * 1e6


def trial(name: str, count: int, seed: int) -> int:
    import hostile
    import sample_actors
    from brokers import RabbitmqServer, ValkeyServer, running
    from engines import WorkerProcess, wait_until

    from cloudmesh_actors import broker as brokers
    from cloudmesh_actors import jobs, settings, store
    from cloudmesh_actors.steps import State

    kind = {"valkey": ValkeyServer, "rabbitmq": RabbitmqServer}[name]
    with tempfile.TemporaryDirectory() as folder, running(kind) as server, sample_actors.declared() as actors:
        configure(server.url, Path(folder), hostile.KEY, hostile.MAX_BYTES)
        settings.reset()
        brokers.current().depth("rack")
        worker = WorkerProcess("rack", Path(folder) / "log", "threads=8", "prefetch=128").await_ready()
        bad, good, began = hostile.bodies(count, seed), [], time.monotonic()
        for first in range(0, count, 10):
            hostile.publish(server, bad[first : first + 10])
            good.append(actors.add.send_with_options(args=(first, 1), delay=1000 if first % 20 else None))
        wait_until(lambda: aside(brokers) == count, lambda: str(brokers.current().depth("rack")), DEADLINE_S)
        results = [jobs.wait(message.message_id, DEADLINE_S) for message in good]
        took = time.monotonic() - began
        done = sum(job.state is State.DONE and job.result == job.args[0] + 1 for job in results)
        died = worker.process.poll() is not None
        counts = f"{count:8,} {aside(brokers):10,} {len(good):6,} {done:6,}"
        print(f"{name:10} {counts} {took:8.1f} {'yes' if died else 'no':>12}", flush=True)
        worker.terminate()
        brokers.reset()
        store.reset()
    return int(died or done != len(good))


def aside(brokers: Any) -> int:
    return int(brokers.current().depth("rack")[3])


def configure(url: str, folder: Path, key: str, max_bytes: int) -> None:
    path = folder / "key"
    path.write_text(key)
    path.chmod(0o600)
    more = {"BROKER_URL": url, "LOG_DIR": folder, "SIGNING_KEY_FILE": path, "MESSAGE_MAX_BYTES": max_bytes}
    os.environ.update({f"CLOUDMESH_{name}": str(value) for name, value in more.items()})


if __name__ == "__main__":
    sys.exit(main())
