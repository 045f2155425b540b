"""Peers that go away: said once by all threads together, waited for with pauses that grow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from cloudmesh_actors.broker.outages import RETRY_S, Outage, patiently
from cloudmesh_actors.broker.quiet import Repetitions, quieten
from cloudmesh_actors.errors import StoreError, StoreUnavailable


@pytest.fixture(autouse=True)
def everything_is_logged() -> Iterator[None]:
    was_configured, before = structlog.is_configured(), structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    yield
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**before)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_said_when_it_begins_and_when_it_ends() -> None:
    clock = Clock()
    outage = Outage("broker", clock)
    with capture_logs() as logged:
        outage.ended()
        for number in range(1000):
            clock.now = float(number)
            outage.began(f"reason {number}")
        outage.ended()
        outage.ended()
        outage.began("again")

    assert [(line["event"], line.get("error"), line.get("away_s")) for line in logged] == [
        ("broker.away", "reason 0", None),
        ("broker.back", None, 999.0),
        ("broker.away", "again", None),
    ]


def test_of_many_threads_one_says_it() -> None:
    outage = Outage("store")
    together = threading.Barrier(8)

    def suffer() -> None:
        together.wait()
        outage.began("locked")
        together.wait()
        outage.ended()

    with capture_logs() as logged:
        threads = [threading.Thread(target=suffer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [line["event"] for line in logged] == ["store.away", "store.back"]


def test_work_is_tried_until_the_store_lets_it() -> None:
    pauses: list[float] = []
    results = iter([StoreUnavailable("locked")] * 6 + [StoreError("damaged"), "well"])

    def work() -> str:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    assert patiently(work, Outage("store"), pauses.append) == "well"
    assert pauses == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]


def test_what_is_not_the_stores_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, Outage("store"))


def test_dramatiqs_repetitions_are_taken_out_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    from dramatiq.logging import get_logger

    logger = get_logger("dramatiq.worker", "ConsumerThread(some)")
    quieten("some")
    quieten("some")
    caplog.set_level(logging.INFO)

    logger.critical("Consumer encountered a connection error: %s", "refused")
    logger.info("Restarting consumer in %0.2f seconds.", 3)
    logger.warning("Failed to post_process_message(%s) due to a connection error: %s\n", "m", "e")
    logger.critical("Consumer encountered an unexpected error.")

    assert [record.getMessage() for record in caplog.records] == ["Consumer encountered an unexpected error."]
    assert len(logger.filters) == 1


def test_those_are_dramatiqs_words() -> None:
    """Should Dramatiq say it differently, this fails rather than the logs fill."""
    import inspect

    from dramatiq import worker

    source = inspect.getsource(worker)
    assert all(beginning in source for beginning in Repetitions.BEGINNINGS)
    assert 'get_logger(__name__, "ConsumerThread(%s)" % queue_name)' in source
