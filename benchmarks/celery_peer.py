"""Celery as a peer of bench_queue; run by an interpreter that has celery[redis].

celery_peer.py send URL N        put N no-op tasks into the queue
celery_peer.py work URL N        one worker, threads; prints {"seconds": …, "cpu": …} on stderr when N tasks have run
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from celery import Celery

THREADS, PREFETCH_A_THREAD = 8, 16


def main(what: str, url: str, number: int) -> None:
    app = Celery("peer", broker=url.replace("unix://", "redis+socket://"))
    app.conf.update(
        task_ignore_result=True, worker_prefetch_multiplier=PREFETCH_A_THREAD, task_acks_late=True,
        worker_send_task_events=False, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
    )  # fmt: skip
    ran: list[float] = []

    @app.task(name="peer.nothing")
    def nothing() -> None:
        ran.append(time.monotonic())

    if what == "send":
        for _ in range(number):
            nothing.delay()
        return

    def tell() -> None:
        while len(ran) < number:
            time.sleep(0.005)
        told = {"seconds": time.monotonic() - ran[0], "cpu": time.process_time()}
        os.write(2, f"\n{json.dumps(told)}\n".encode())  # its banner goes to stdout
        os._exit(0)

    threading.Thread(target=tell, daemon=True).start()
    app.worker_main(["worker", "--pool=threads", f"--concurrency={THREADS}", "--loglevel=ERROR", "--without-gossip",
                     "--without-mingle", "--without-heartbeat"])  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
