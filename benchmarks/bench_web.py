"""The console with 100,000 jobs in the store: pages, pressing launch, and 100 browsers on live pages.

python benchmarks/bench_web.py [--jobs 100000] [--browsers 100] [--seconds 20] [--requests 60]

* pages: from sending a request on an open connection until the last byte of the answer, one after the other.
* launch: from before the form is sent until a stream, or the page that it opens, shows the state of the server.
* browsers: streams on the pages of jobs, launches and one launch while 1,000 simulated servers are launched, and a job
  is recorded every half second; news is late by the time from its commit until a stream has it. Memory and processor
  are the console's process.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import httpx
import psutil
from brokers import free_port
from fleets import FleetUnderTest, fleet

from cloudmesh_actors import launcher, store
from cloudmesh_actors.launcher import records
from cloudmesh_actors.launcher.model import LaunchState
from cloudmesh_actors.steps import Ended, Queued, Started, State, end, insert, start

SITE = """
clusters:
  big: {nodes: "n[0001-1000]"}
hosts:
  "n[0001-1000]": {driver: simulator}
recipes: recipes
"""

RECIPE = """
label: Nothing much
script:
  - [echo, "on {server}"]
"""

AT_ONCE = 1000
SERVERS_OF_A_LAUNCH = 100

PAGES = (
    "/cm/launch", "/cm/launch/db_stats", "/cm/launch/db_stats?state=error", "/cm/launch/db_stats?recipe=nothing",
    "/cm/launch/db_stats?server=n0042", "/cm/launch/db_stats?before={step}", "/cm/launch/jobs/{launch}", "/cm/jobs",
    "/cm/jobs?state=failed", "/cm/jobs?state=aborted", "/cm/jobs?queue=pbs", "/cm/jobs?actor=rack.power",
    "/cm/jobs?before={job}", "/cm/jobs/{job}", "/cm/jobs/{launch}", "/cm/audit", "/cm/launch/db_reset",
    "/api/v1/jobs?limit=100", "/api/v1/launches?limit=100", "/readyz",
)  # fmt: skip


def fill(count: int) -> None:
    """So many jobs over 90 days, one of 50 failed, one of 200 aborted; one of 1,000 is a launch on 100 servers."""
    began = time.time() - 90 * 86_400
    for first in range(0, count, AT_ONCE):
        rows = [queued(number, began + number * 77.0) for number in range(first, first + AT_ONCE)]
        of_launch = [below(rows[0], server) for server in range(1, SERVERS_OF_A_LAUNCH + 1)]
        with store.current().write() as connection:
            insert(connection, store.current(), rows)
            insert(connection, store.current(), of_launch)
            for step in (*of_launch, *rows):
                start(connection, [Started(step.id, "rack", step.enqueued_at + 1)])
            end(connection, [ended(step, number) for number, step in enumerate((*of_launch, *rows), first)])
        records.add(rows[0].id, "nothing", {}, [(step.id, f"n{n:04}") for n, step in enumerate(of_launch, 1)])
        for number, step in enumerate(of_launch):
            state = LaunchState.ERROR if number % 50 == 7 else LaunchState.ACTIVE
            records.end(step.id, state, output="some output\n" * 40)


def queued(number: int, at: float) -> Queued:
    actor = ("rack.read_sensors", "rack.power", "pbs.refresh")[number % 3] if number % 1000 else "launcher.launch"
    arguments = (
        '{"args": ["nothing", "@big"], "kwargs": {}}' if number % 1000 == 0 else '{"args": ["@all"], "kwargs": {}}'
    )
    name = str(uuid.uuid4())
    return Queued(name, name, None, None, actor, actor.partition(".")[0], arguments, "ops@head", at, None)


def below(root: Queued, server: int) -> Queued:
    name = str(uuid.uuid4())
    return root._replace(
        id=name, parent_id=root.id, actor="launcher.deploy", enqueued_at=root.enqueued_at + server / 100
    )


def ended(step: Queued, number: int) -> Ended:
    state = State.FAILED if number % 50 == 7 else State.ABORTED if number % 200 == 9 else State.DONE
    error = "i007 does not answer at its BMC's address." if state is State.FAILED else None
    return Ended(step.id, step.root_id, state, step.enqueued_at + 5, '{"ok": true}', error)


@contextmanager
def console(folder: Path, count: int) -> Iterator[tuple[FleetUnderTest, str]]:
    """A fleet of l1, l2 and the console, with its store filled; gives the console's address."""
    (folder / "recipes").mkdir()
    (folder / "recipes" / "nothing.yaml").write_text(RECIPE)
    (folder / "site.yaml").write_text(SITE)
    port = free_port()
    settings = {"WORKERS": "launcher=2", "SITE": folder / "site.yaml", "WEB_PORT": port}
    with fleet(folder / "logs", **settings) as it, it.here() as here:
        began = time.perf_counter()
        fill(count)
        print(f"{count:,} jobs recorded in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        here.up(web=True)
        yield it, f"http://127.0.0.1:{port}"


def bench_pages(base: str, requests: int) -> None:
    with httpx.Client(base_url=base, timeout=60) as client:
        job = client.get("/api/v1/jobs?limit=500").json()["items"][-1]["id"]
        one = client.get("/api/v1/launches?limit=200").json()["items"][-1]
        print(f"{'page':42}{'p50 ms':>8}{'p95 ms':>8}{'kB':>8}")
        for page in PAGES:
            path = page.format(job=job, step=one["step_id"], launch=one["job_id"])
            took = []
            for _ in range(requests):
                began = time.perf_counter()
                answer = client.get(path)
                took.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
            quantiles = statistics.quantiles(took, n=20)
            print(f"{page:42}{quantiles[9]:8.1f}{quantiles[18]:8.1f}{len(answer.content) / 1000:8.1f}")


async def press(base: str) -> float:
    """Milliseconds from pressing launch until the state of the server is seen."""
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        form = (await client.get("/cm/launch")).text
        token = re.search(r'name="form_token" value="(\w+)"', form)[1]
        began = time.perf_counter()
        answer = await client.post("/cm/launch", data={"form_token": token, "recipe": "nothing", "servers": "n0001"})
        page = await client.get(answer.headers["location"])
        if 'class="state active' in page.text or 'class="state deploy' in page.text:
            return (time.perf_counter() - began) * 1000
        async with client.stream("GET", answer.headers["location"] + "/live") as stream:
            async for line in stream.aiter_lines():
                if re.search(r"state (running|deploy|active)[^>]*>.{0,60}(running|deploy|active)", line):
                    return (time.perf_counter() - began) * 1000
    raise SystemExit("the stream ended")


class Browser:
    """A stream that notes when it has seen which job."""

    def __init__(self, base: str, path: str) -> None:
        self.base, self.path = base, path
        self.seen: dict[str, float] = {}
        self.events = self.bytes = 0

    async def look(self) -> None:
        async with (
            httpx.AsyncClient(base_url=self.base, timeout=None) as client,
            client.stream("GET", self.path) as got,
        ):
            assert got.status_code == 200, got.status_code
            async for line in got.aiter_lines():
                self.bytes += len(line)
                if line.startswith("data:"):
                    self.events += 1
                    for job in re.findall(r'data-key=\\"(bench-[0-9]+)', line):
                        self.seen.setdefault(job, time.time())


async def bench_browsers(it: FleetUnderTest, base: str, count: int, seconds: float) -> None:
    job = await asyncio.to_thread(lambda: str(launcher.launch.send("nothing", "@big").message_id))
    paths = ["/cm/jobs/live", "/cm/launch/db_stats/live", f"/cm/launch/jobs/{job}/live", f"/cm/jobs/{job}/live"]
    browsers = [Browser(base, paths[number % len(paths)]) for number in range(count)]
    looking = [asyncio.create_task(browser.look()) for browser in browsers]
    await asyncio.sleep(2)
    web = psutil.Process(it.pid("web"))
    before, began, sent = sum(web.cpu_times()[:2]), time.time(), {}
    memory = 0
    while time.time() - began < seconds:
        name = f"bench-{len(sent)}"
        await asyncio.to_thread(record, name)
        sent[name] = time.time()
        memory = max(memory, web.memory_info().rss)
        await asyncio.sleep(0.5)
    cpu, took = sum(web.cpu_times()[:2]) - before, time.time() - began
    await asyncio.sleep(2.5)
    for task in looking:
        task.cancel()
    late = [b.seen[name] - at for b in browsers if b.path == paths[0] for name, at in sent.items() if name in b.seen]
    missing = sum(name not in b.seen for b in browsers if b.path == paths[0] for name in sent)
    events, size = sum(b.events for b in browsers), sum(b.bytes for b in browsers)
    print(f"{count} browsers: {memory / 1e6:.0f} MB, {cpu / took:.0%} of a core, {events} events, {size / 1e6:.1f} MB")
    print(f"news late by {statistics.median(late):.2f} s (median), {max(late):.2f} s (longest); {missing} missed")


def record(name: str) -> None:
    row = Queued(
        name, name, None, None, "rack.power", "rack", '{"args": [], "kwargs": {}}', "ops@head", time.time(), None
    )
    with store.current().write() as connection:
        insert(connection, store.current(), [row])


def main(count: int, browsers: int, seconds: float, requests: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cm-bench-") as folder, console(Path(folder), count) as (it, base):
        web = psutil.Process(it.pid("web"))
        print(f"the console takes {web.memory_info().rss / 1e6:.0f} MB before the first request")
        bench_pages(base, requests)
        presses = sorted(asyncio.run(press(base)) for _ in range(10))
        print(
            f"press launch until the state is seen: {presses[5]:.0f} ms (median), {presses[-1]:.0f} ms (longest of 10)"
        )
        asyncio.run(bench_browsers(it, base, browsers, seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--browsers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--requests", type=int, default=60)
    given = parser.parse_args()
    main(given.jobs, given.browsers, given.seconds, given.requests)
