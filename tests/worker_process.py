"""A worker as a process, for tests that kill it: ``worker_process.py NAME [SETTING=VALUE...]``."""

from __future__ import annotations

import os
import signal
import sys
import threading

import dramatiq
import sample_actors

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import logs, runs
from cloudmesh_actors.broker import claims, rabbitmq, redis
from cloudmesh_actors.broker.work_queue import WorkQueue


def main(name: str, options: dict[str, str]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logs.configure(worker=name, queue="rack")
    redis.HEARTBEAT_TIMEOUT_MS = int(options.get("heartbeat_timeout_ms", redis.HEARTBEAT_TIMEOUT_MS))
    redis.HEARTBEAT_EVERY_S = redis.HEARTBEAT_TIMEOUT_MS / 7500
    redis.MAINTENANCE_EVERY_S = redis.HEARTBEAT_TIMEOUT_MS / 3000
    if options.get("acknowledges") == "no":
        rabbitmq.TaggedConsumer._answer = lambda *_: None  # type: ignore[method-assign]
        redis.RedisConsumer._forget = lambda *_: None  # type: ignore[method-assign]
    grace = float(options.get("grace", "5"))
    with sample_actors.declared():
        brokers.be_worker(name)
        broker = brokers.current()
        broker.declare_queue("rack")
        claims.bury_the_dead(broker=broker)
        broker.emit_after("process_boot")
        worker = dramatiq.Worker(
            broker, queues={"rack"}, worker_threads=int(options.get("threads", "4")), worker_timeout=100
        )
        worker.queue_prefetch = int(options.get("prefetch", "16"))
        worker.work_queue = WorkQueue()
        worker.start()
        os.write(1, f"{name} is ready {os.getpid()}\n".encode())
        stop.wait()
        brokers.stopping()
        runs.stop_signal.stop(grace)
        worker.stop(timeout=int((grace + 1.5) * 1000))
        broker.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], dict(option.split("=", 1) for option in sys.argv[2:]))
