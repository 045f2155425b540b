"""Leases: two processes contend for nodes, and stand still (SIGSTOP) while they hold them, for longer than these last.

python benchmarks/bench_leases.py [--trials 10000] [--nodes 100] [--ttl 0.5] [--seed 1] [--store sqlite postgresql]

In a round both try to take every node; then each in turn is stopped with all that it holds, before a check or within
one, until the other has taken it over and acted; then it wakes, and acts as if nothing had happened. A trial is one
lease that was held by a process that stood still. Nodes record each command with its fence, in the order of arrival.

Then what taking, checking and giving back costs, in one process that is alone; and the window that is left: from the
moment up to which a check tells the truth, to its return.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import postgresql
from lease_contenders import Tally, trial

from cloudmesh_actors.leases.model import Claimant, Lease
from cloudmesh_actors.leases.records import Leases
from cloudmesh_actors.store import Store

COSTS = 1000


@contextmanager
def store_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/store.db"
        return
    with postgresql.server() as url:
        yield url


def contest(url: str, folder: Path, args: argparse.Namespace) -> tuple[Tally, float]:
    began = time.monotonic()
    tally = trial(url, folder, trials=args.trials, nodes=args.nodes, ttl=args.ttl, seed=args.seed)
    return tally, time.monotonic() - began


def costs(store: Store) -> dict[str, float]:
    """Milliseconds, medians."""
    leases, who = Leases(store), Claimant("alone")

    def take() -> Lease:
        return leases.take(["i001"], who, 60.0, "bench")["i001"]

    lease = take()
    calls: dict[str, Callable[[], object]] = {
        "take": take,
        "check": lambda: leases.check(lease),
        "renew 64": lambda: leases.keep((lease, 60.0) for lease in many.values()),
        "give back": lambda: leases.give_back(lease),
    }
    many = leases.take([f"n{number}" for number in range(64)], who, 60.0, "bench")
    return {name: median_ms(call) for name, call in calls.items()}


def window_us(store: Store) -> tuple[float, float]:
    """From the clock's last look within a check to its return, in microseconds: median, and longest."""
    looks: list[float] = []

    def clock() -> float:
        looks.append(time.perf_counter())
        return looks[-1]

    leases = Leases(store, clock=clock)
    lease = leases.take(["i001"], Claimant("alone"), 600.0, "bench")["i001"]
    windows = []
    for _ in range(COSTS):
        leases.check(lease)
        windows.append((time.perf_counter() - looks[-1]) * 1e6)
    return statistics.median(windows), max(windows)


def median_ms(call: Callable[[], object]) -> float:
    took = []
    for _ in range(COSTS):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def report(
    kind: str, tally: Tally, seconds: float, cost: dict[str, float], window: tuple[float, float], ttl: float
) -> None:
    print(
        f"\n{kind}: {tally.races:,} races, {tally.paused:,} leases held by a process that stood still, {seconds:.0f} s"
    )
    print(f"  races won by one process {tally.races - tally.won_by_both - tally.won_by_none:,}, by both one after the "
          f"other {tally.won_by_both:,}, by none {tally.won_by_none:,}")  # fmt: skip
    print(f"  taken over after they expired ({ttl:g} s) {tally.taken_over:,}")
    print(f"  the stale holder was refused {tally.stale_refused:,}, acted {tally.stale_acted:,}")
    print(f"  commands that arrived {tally.commands:,}, after one with a higher fence {len(tally.out_of_order):,}")
    print(f"  good holders refused {tally.good_refused:,}; stopped inside a transaction {tally.stuck_in_the_store:,}")


def report_costs(cost: dict[str, float], window: tuple[float, float]) -> None:
    print("  " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in cost.items()))
    print(f"  window after a check {window[0]:.0f} us, the longest of {COSTS:,} {window[1]:.0f} us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--ttl", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    args = parser.parse_args()
    safe = True
    for kind in args.store:
        with tempfile.TemporaryDirectory() as folder, store_url(kind, Path(folder)) as url:
            store = Store(url, check_schema=False)
            store.upgrade()
            tally, seconds = contest(url, Path(folder), args)
            report(kind, tally, seconds, args.ttl)
            report_costs(costs(store), window_us(store))
            store.close()
            safe = safe and tally.is_safe
    return 0 if safe else 1


if __name__ == "__main__":
    sys.exit(main())
