"""Provisionings on real BMCs and a real cobblerd whose worker is killed at every point, one point a node.

python benchmarks/bench_provision.py [--driver ipmi|cobbler] [--at-once 4]

A point is before and after each commit to the store and each command to a node. What is shown is how many were killed,
how they ended, and what the BMCs and the Cobbler were told. It ends with 1 when something was told twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import cobbler_server
import ipmi_farm
from cobbler_server import CobblerServer
from provision_world import booting, cobbler_site, installing, ipmi_site, killed_at

from cloudmesh_actors import settings, store
from cloudmesh_actors.provisioner import records
from cloudmesh_actors.provisioner.model import DriverName, Provisioning
from cloudmesh_actors.provisioner.states import State

#: More points than a provisioning has.
NODES = 48


def environment(folder: Path, site: str) -> None:
    (folder / "site.yaml").write_text(site)
    values = {
        "SITE": folder / "site.yaml",
        "LOG_DIR": folder / "logs",
        "POWER_DEADLINE": 20,
        "BMC": ipmi_farm.PASSWORD,
        "COBBLER": cobbler_server.PASSWORD,
        "BROKER_URL": "stub://",
    }
    os.environ.update({f"CLOUDMESH_{name}": str(value) for name, value in values.items()})
    settings.reset()


def on_bmcs(folder: Path, at_once: int) -> bool:
    folder.mkdir()
    with ExitStack() as stack:
        machines = stack.enter_context(ipmi_farm.farm(folder / "farm", NODES))
        booted = stack.enter_context(booting(machines))
        nodes = dict(zip([f"i{number:03}" for number in range(1, NODES + 1)], booted, strict=True))
        environment(folder, ipmi_site(nodes))
        ends = kill("ipmi", list(nodes), folder, at_once)
        store.reset()
    power = Counter(
        " ".join(command for command in nodes[node].bmc.commands if "power" in command) for _, node, _ in ends
    )
    for told, count in power.items():
        print(f"  {count} BMCs were told: {told}")
    return set(power) == {"power 0 power 1"} and all(it.error is None for _, _, it in ends)


def on_cobbler(folder: Path, at_once: int) -> bool:
    names = [f"i{number:03}" for number in range(1, NODES + 1)]
    with cobbler_server.cobbler(folder / "cobbler") as server:
        machines = [server.add_node(name) for name in names]
        environment(folder, cobbler_site(server, names))
        with installing(machines):
            ends = kill("cobbler", names, folder, at_once)
        told = commands(server)
        nodes = sum(it.state is State.SUCCESS for it in records.latest(names).values())
        store.reset()
    print(f"  {nodes} nodes were provisioned; Cobbler was told {dict(told)}")
    return set(told.values()) == {nodes} and all(it.error is None for _, _, it in ends)


def commands(server: CobblerServer) -> Counter[str]:
    events = server.proxy().get_events()
    return Counter(event[1] for event in events.values() if "Power" in event[1])


def kill(driver: DriverName, nodes: list[str], folder: Path, at_once: int) -> list[tuple[str, str, Provisioning]]:
    began = time.perf_counter()
    ends = killed_at(nodes, driver, "hpc", folder, at_once=at_once)
    states = Counter(it.state.value for _, _, it in ends)
    print(f"{driver}: killed at {len(ends)} points, ended in {dict(states)}, {time.perf_counter() - began:.0f} s")
    for point, node, it in ends:
        if it.error:
            print(f"  {point}: {node} {it.error}")
    return ends


PARTS = {"ipmi": on_bmcs, "cobbler": on_cobbler}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", choices=PARTS, help="only this one")
    parser.add_argument("--at-once", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        wanted = [args.driver] if args.driver else list(PARTS)
        good = [PARTS[name](Path(temporary) / name, args.at_once) for name in wanted]
    sys.exit(0 if all(good) else 1)
