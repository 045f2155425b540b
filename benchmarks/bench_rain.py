"""Rain on a real cobblerd: what its calls cost, and who wins when a node is deployed twice at once.

python benchmarks/bench_rain.py [--systems 1000] [--asked 100] [--trials 1000]

* The power of `--asked` systems, all at once, through fence agents of two kinds: `dummy`, a Python program like all of
  them, and one that only waits 0.1 s, as for a BMC: the first measures this machine, the second Cobbler and the client.
* The calls of a deploy up to its power cycle, with `--systems` systems in Cobbler.
* `--trials` times two deploys of one node, sent at once to two worker processes. The Cobbler of this part is simulated.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cobbler_server import PASSWORD, PROFILES, USER, CobblerServer, cobbler
from rain_contenders import Trials, contend

from cloudmesh_actors import site
from cloudmesh_actors.clients.cobbler.model import Cobbler
from cloudmesh_actors.clients.cobbler.remote import RemoteCobbler
from cloudmesh_actors.secret import Secret

#: A fence agent that costs nothing but time.
QUICK_AGENT = """#!/bin/sh
while read line; do [ "$line" = action=status ] && status=1; done
sleep 0.1
[ "$status" ] && echo "Status: ON"
exit 0
"""


def fill(server: CobblerServer, names: list[str], kind: str) -> None:
    """Make systems, without writing a boot file for each: that takes Cobbler 40 ms."""
    proxy, token = server.login()
    for name in names:
        handle = proxy.new_system(token)
        power = {"power_type": kind, "power_options": f"status_file={server.root}/power-on"}
        for attribute, value in {"name": name, "profile": PROFILES[0], **power}.items():
            proxy.modify_system(handle, attribute, value, token)
        proxy.save_system(handle, token)


def replace_agent(server: CobblerServer) -> None:
    """Put the quick agent in the place of `fence_dummy`, for this cobblerd alone."""
    agent = server.root / "fence_quick"
    agent.write_text(QUICK_AGENT)
    agent.chmod(0o755)
    namespace = ["nsenter", "--mount", "--target", str(server.pid)]
    subprocess.run([*namespace, "mount", "--bind", str(agent), "/usr/sbin/fence_dummy"], check=True)


def power_of_many(client: Cobbler, names: list[str]) -> float:
    began = time.perf_counter()
    found = client.power_statuses(names)
    took = time.perf_counter() - began
    assert set(found.values()) == {"on"}, found
    return took


def calls_before_power(client: Cobbler, name: str) -> float:
    """What a deploy asks of Cobbler before the node is switched off, its power status left out: that is the BMC's."""
    began = time.perf_counter()
    client.prepare(name, PROFILES[1])
    client.power(name, "off")
    return time.perf_counter() - began


def on_a_real_cobbler(args: argparse.Namespace, folder: Path) -> None:
    with cobbler(folder / "cobbler") as server:
        (server.root / "power-on").write_text("on")
        names = [f"n{number:04}" for number in range(1, args.systems + 1)]
        began = time.perf_counter()
        fill(server, names, "dummy")
        print(f"{args.systems:,} systems made in {time.perf_counter() - began:.0f} s")
        described = site.Cobbler("main", server.url, USER, Secret(PASSWORD))
        with RemoteCobbler(described, 60.0, folder / "turns") as client:
            took = [power_of_many(client, names[: args.asked]) for _ in range(3)]
            print(f"power of {args.asked} systems, fence_dummy: {statistics.median(took):.2f} s")
            replace_agent(server)
            took = [power_of_many(client, names[: args.asked]) for _ in range(3)]
            print(f"power of {args.asked} systems, an agent that waits 0.1 s: {statistics.median(took):.2f} s")
            took = sorted(calls_before_power(client, name) * 1000 for name in names[:50])
            print(f"calls of a deploy before the power cycle: median {took[25]:.0f} ms, worst {took[-1]:.0f} ms")


def report(trials: Trials) -> None:
    print(
        f"\n{trials.count:,} times two deploys of one node at once, 2 worker processes, {trials.seconds:.0f} s: "
        f"exactly one won {trials.one_winner:,} times, the loser named the winner {trials.named:,} times"
    )
    for what, count in Counter(trials.others).items():
        print(f"  otherwise: {what}: {count}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=100)
    parser.add_argument("--trials", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cm-bench-") as name:
        on_a_real_cobbler(args, Path(name))
        report(contend(Path(name), args.trials))
    os._exit(0)


if __name__ == "__main__":
    main()
