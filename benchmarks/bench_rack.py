"""Reading a rack of real BMCs: our client beside FreeIPMI's `ipmi-sensors` and parallel `ipmitool`, in turns.

python benchmarks/bench_rack.py [--bmcs 64] [--rounds 5] [--round-trip 0]      (as root: the tools want port 623)

Needs Debian's openipmi, ipmitool and freeipmi-tools. `--round-trip` adds so many milliseconds between client and BMC.
"""

from __future__ import annotations

import argparse
import ipaddress
import multiprocessing
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from ipmi_farm import PASSWORD, SENSORS, USER, RealBmc, compile_records, running, write_bmc
from lossy import Proxy, delaying

from cloudmesh_actors.clients.ipmi.lan import IpmiClient, Memory
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.model import Bmc

PORT = 623
THREADS = 64

#: A way to read all BMCs once; it fails when a reading is missing.
Contestant = Callable[[Sequence[str]], None]


def ours(locks: Path, memory: Memory | None) -> Contestant:
    """Our client: with what it knows of the BMCs, or, without `memory`, meeting them for the first time."""

    def read_all(addresses: Sequence[str]) -> None:
        known = memory or Memory()

        def read(address: str) -> int:
            with IpmiClient(Bmc(address, address, PORT, USER, Secret(PASSWORD)), 60.0, locks, memory=known) as client:
                return sum(reading.value is not None for reading in client.sensors())

        with ThreadPoolExecutor(THREADS) as pool:
            check(sum(pool.map(read, addresses)), len(addresses))

    return read_all


def ipmi_sensors(cache: Path) -> Contestant:
    """FreeIPMI: one process, IPMI 1.5 without encryption, its records cached on disk by the first round."""

    def read_all(addresses: Sequence[str]) -> None:
        command = ["ipmi-sensors", "-h", ",".join(addresses), "-u", USER, "-p", PASSWORD, "-F", str(THREADS),
                   "--sdr-cache-directory", str(cache), "--quiet-cache", "--quiet-readings",
                   "--comma-separated-output", "--no-header-output"]  # fmt: skip
        output = subprocess.run(command, check=True, capture_output=True).stdout
        lines = [line for line in output.splitlines() if b"PSU1 Status" not in line]
        check(len(lines), len(addresses))

    return read_all


def ipmitool(addresses: Sequence[str]) -> None:
    """As many processes of ipmitool as there are BMCs."""

    def read(address: str) -> int:
        place = ["-I", "lanplus", "-C", "3", "-H", address, "-U", USER, "-P", PASSWORD]
        output = subprocess.run(["ipmitool", *place, "sdr", "list"], check=True, capture_output=True).stdout
        return len([line for line in output.splitlines() if b"0x" not in line])

    with ThreadPoolExecutor(THREADS) as pool:
        check(sum(pool.map(read, addresses)), len(addresses))


def check(readings: int, bmcs: int) -> None:
    """What does not read everything is not in the race."""
    if readings != bmcs * len(SENSORS):
        raise SystemExit(f"{readings} readings instead of {bmcs * len(SENSORS)}")


@contextmanager
def rack(folder: Path, count: int, round_trip_ms: float) -> Iterator[list[str]]:
    """Real BMCs, and the addresses where clients find them."""
    records = compile_records(folder, SENSORS)
    net = free_net(2 * count)
    places = [str(net + n) for n in range(2 * count)]
    bmcs = [write_bmc(folder / f"bmc{n}", places[n], PORT, records, SENSORS) for n in range(count)]
    with ExitStack() as stack:
        stack.enter_context(running(bmcs))
        if not round_trip_ms:
            yield places[:count]
            return
        stack.enter_context(far_away(bmcs, places[count:], round_trip_ms / 2000))
        yield places[count:]


@contextmanager
def far_away(bmcs: Sequence[RealBmc], places: Sequence[str], delay_s: float) -> Iterator[None]:
    """Proxies that delay every datagram, in a process of their own so that they take no time from ours."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    servers = [(bmc.address, bmc.port) for bmc in bmcs]
    process = context.Process(target=_delay, args=(servers, places, delay_s, ready, done))
    process.start()
    ready.wait(30)
    yield
    done.set()
    process.join()


def _delay(
    servers: Sequence[tuple[str, int]], places: Sequence[str], delay_s: float, ready: Event, done: Event
) -> None:
    proxies = [
        Proxy(server, delaying(delay_s), 1, (place, PORT)) for server, place in zip(servers, places, strict=True)
    ]
    ready.set()
    done.wait()
    for proxy in proxies:
        proxy.close()


def free_net(count: int) -> ipaddress.IPv4Address:
    """The first of so many consecutive loopback addresses where port 623 is free."""
    for _ in range(50):
        first = ipaddress.IPv4Address(f"127.{random.randint(64, 191)}.{random.randint(0, 255)}.1")
        if all(_is_free(str(first + n)) for n in range(count)):
            return first
    raise SystemExit("no free loopback addresses")


def _is_free(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, PORT))
        except PermissionError:
            raise SystemExit("port 623 is for root: run this as root") from None
        except OSError:
            return False
        return True


def race(contestants: dict[str, Contestant], addresses: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, all of them in turns; the first round, a warm-up, is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, read_all in contestants.items():
            began = time.perf_counter()
            read_all(addresses)
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def show(times: dict[str, list[float]], bmcs: int, round_trip_ms: float) -> None:
    """A table of medians, ranges, and how often each takes the time of the first."""
    print(f"{bmcs} BMCs of {len(SENSORS)} sensors, {round_trip_ms:g} ms added to a round trip, {THREADS} at once\n")
    print(f"{'':34}{'median s':>10}{'range':>16}{'ratio':>8}")
    first = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:34}{median:10.2f}{f'{min(seconds):.2f} to {max(seconds):.2f}':>16}{median / first:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bmcs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-trip", type=float, default=0.0, metavar="MS")
    options = parser.parse_args()
    for binary in ("ipmi_sim", "sdrcomp", "ipmitool", "ipmi-sensors"):
        if shutil.which(binary) is None:
            raise SystemExit(f"{binary} is not installed")
    with tempfile.TemporaryDirectory(prefix="bench-rack-") as name, ExitStack() as stack:
        folder = Path(name)
        addresses = stack.enter_context(rack(folder, options.bmcs, options.round_trip))
        contestants: dict[str, Contestant] = {
            "cloudmesh_actors": ours(folder / "locks", Memory()),
            "cloudmesh_actors, first meeting": ours(folder / "locks", None),
            "ipmi-sensors, records cached": ipmi_sensors(folder),
            "ipmitool, a process per BMC": ipmitool,
        }
        show(race(contestants, addresses, options.rounds), options.bmcs, options.round_trip)


if __name__ == "__main__":
    main()
