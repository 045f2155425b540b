"""``python -m chaos``: runs scenarios, prints a table, and with ``--write`` puts it into docs/reliability.md."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path

from chaos import report, smalldisk
from chaos.scenarios import SCENARIOS
from chaos.servers import BROKERS, EMBEDDED


def main(arguments: list[str]) -> int:
    given = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    print(f"seed {given.seed}", flush=True)
    found = []
    for broker in given.broker:
        for name in given.scenario:
            scenario = SCENARIOS[name].scaled(given.messages, given.kills, given.workers)
            if given.short:
                scenario = scenario.scaled(scenario.messages // 20, scenario.times // 20)
            found.append(smalldisk.run(name, scenario, broker, given.seed))
            if given.write:
                report.write(found[-1:])
    print(report.table(found))
    for one in found:
        print(f"{one.scenario} on {one.broker}: {'; '.join(one.wrong) or 'well'}")
    return 0 if all(one.is_well for one in found) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--broker", nargs="+", default=["valkey", "rabbitmq"], choices=[*BROKERS, EMBEDDED])
    parser.add_argument("--scenario", nargs="+", default=[*SCENARIOS], choices=[*SCENARIOS], metavar="NAME")
    parser.add_argument("--messages", type=int, help="instead of each scenario's own number")
    parser.add_argument("--kills", type=int, help="how often things break, instead of each scenario's own number")
    parser.add_argument("--workers", type=int, help="workers of the fleet")
    parser.add_argument("--short", action="store_true", help="a twentieth of each scenario's counts")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/reliability.md")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(sys.argv[1:]))
