"""The store: one engine and one schema for everything that must outlive a process.

SQLite (write-ahead log) by default, PostgreSQL when workers span hosts. Tables are declared on `metadata`
by the module that owns them; `migrations/` builds them.

Two ways in, both context managers that give a `sqlalchemy.Connection`::

    with store.current().read() as connection: ...       # a snapshot
    with store.current().write() as connection: ...      # a transaction, committed at the end

On SQLite a write begins with BEGIN IMMEDIATE: a read transaction that turns into a write fails whatever the
busy time-out is (https://www.sqlite.org/lang_transaction.html). Threads of one process queue on a lock of ours,
processes on SQLite's. A write inside a write of the same thread would wait for itself: do not nest them.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from cloudmesh_actors import settings
from cloudmesh_actors.errors import StoreError, StoreUnavailable
from cloudmesh_actors.filesystems import network_file_system
from cloudmesh_actors.prepared import Prepared
from cloudmesh_actors.settings import Settings

#: Every table of the library.
metadata = sa.MetaData()

#: The newest migration; a test compares it with `migrations/versions`.
SCHEMA_VERSION = "0010"

#: How long a writer waits for another process's transaction, in milliseconds.
BUSY_TIMEOUT_MS = 30_000

#: What a PostgreSQL server that is away, or a network that is cut, may cost: seconds to connect, and until a dead
#: connection is noticed.
SERVER_OPTIONS = {
    "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # a process that stands still in the middle of a transaction must not hold its locks for ever
    "options": "-c idle_in_transaction_session_timeout=60s",
}  # fmt: skip

_WRITE = {"cloudmesh_synchronous": "NORMAL"}
_WRITE_DURABLY = {"cloudmesh_synchronous": "FULL"}
_SNAPSHOT = {"isolation_level": "REPEATABLE READ"}


class Store:
    """One database. Safe to share between threads, not between a parent and its fork."""

    def __init__(self, url: str | URL, *, check_schema: bool = True) -> None:
        self.url = make_url(url)
        self.url_masked = self.url.render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine() if self.is_sqlite else self._server_engine()
        self._driver: Any = self.engine.dialect.loaded_dbapi
        self._writer = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._own, self._all_own = threading.local(), WeakSet[_Own]()
        if check_schema:
            self._open()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose statements see one snapshot.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        self._check_file()
        with self._translated(), self.engine.connect() as connection:
            yield connection if self.is_sqlite else connection.execution_options(**_SNAPSHOT)

    def peek(self, statement: Prepared, **parameters: Any) -> Any:
        """The first row of one statement, or None. Cheaper than `read`, which it does not need for a snapshot.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        rows = self.peek_all(statement, **parameters)
        return rows[0] if rows else None

    def peek_all(self, statement: Prepared, **parameters: Any) -> list[Any]:
        """The rows of one statement, as `peek`. Raises StoreUnavailable."""
        with self._translated():
            if self.is_sqlite:
                return statement.run_on(self._own_connection(), self.engine.dialect, **parameters).fetchall()  # type: ignore[no-any-return]
            connection = self.engine.raw_connection()
            try:
                return statement.run_on(connection.driver_connection, self.engine.dialect, **parameters).fetchall()  # type: ignore[no-any-return]
            finally:
                connection.close()

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """A write transaction, committed when the block ends, rolled back when it raises.

        Args:
            durable: on SQLite, the commit survives a power failure too (`synchronous=FULL`); without it a commit
                survives the death of the process but perhaps not that of the machine. Servers decide for themselves.

        Raises:
            StoreUnavailable: the database does not answer, or stays locked for 30 s.
        """
        if not self.is_sqlite:
            with self._translated(), self.engine.begin() as connection:
                yield connection
            return
        self._check_file()
        options = _WRITE_DURABLY if durable else _WRITE
        with self._turn(), self._translated(), self.engine.connect() as connection:
            connection.execution_options(**options)
            with connection.begin():
                yield connection

    def append(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        """One INSERT in a transaction of its own, as `write`, of which SQLAlchemy's share would be the larger one.

        Raises:
            StoreUnavailable: the database does not answer, or stays locked for 30 s.
        """
        if not self.is_sqlite:
            with self.write() as connection:
                statement.run_many(connection, rows)
            return
        self._check_file()
        with self._turn(), self._translated():
            driver = self._own_connection()
            driver.execute("BEGIN IMMEDIATE")
            try:
                statement.run_many_on(driver, self.engine.dialect, rows)
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")
                raise

    def insert(self, table: sa.Table) -> Any:
        """An INSERT of this database's dialect, for ON CONFLICT."""
        return dialect_insert(table, self.is_sqlite)

    def upgrade(self) -> None:
        """Bring the schema to `SCHEMA_VERSION`. One process at a time does it, the others wait."""
        from cloudmesh_actors import migrations

        with self._translated(), self._upgrade_lock():
            version = self.schema_version()
            self._refuse_newer(version)
            if version != SCHEMA_VERSION:
                migrations.upgrade(self.engine)
            self._file = self._identity()

    def schema_version(self) -> str | None:
        """The migration that the database is at; None when it is empty."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return version

    def close(self) -> None:
        """Close all idle connections."""
        self.engine.dispose()
        for own in [*self._all_own]:
            own.connection.close()
        self._own = threading.local()

    # -- how it is opened

    def _open(self) -> None:
        try:
            with self._translated():
                self._check_schema()
        except BaseException:
            self.close()
            raise
        self._file = self._identity()

    def _sqlite_engine(self) -> Engine:
        path = Path(self.url.database or "")
        if not self.url.database or self.url.database == ":memory:":
            raise StoreError(
                "A store in memory cannot be shared by workers: name a file, as in sqlite:////var/lib/cm/store.db."
            )
        self._prepare_folder(path)
        engine = sa.create_engine(
            self.url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, pool_size=16, max_overflow=64
        )
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _own_connection(self) -> sqlite3.Connection:
        """This thread's connection, besides the pool's: taking one from there takes longer than to look."""
        own: _Own | None = getattr(self._own, "own", None)
        if own is None:
            own = self._own.own = _Own(self.url.database or "")
            self._all_own.add(own)
        return own.connection

    def _prepare_folder(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"The store's folder {path.parent} cannot be made: {error.strerror}.") from error
        if kind := network_file_system(path.parent):
            raise StoreError(
                f"The store {path} lies on a network file system ({kind}), where SQLite's locks cannot be trusted: "
                "set CLOUDMESH_STATE_DIR to a local folder, or CLOUDMESH_STORE_URL to a PostgreSQL database."
            )

    def _server_engine(self) -> Engine:
        if self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        try:
            return sa.create_engine(
                self.url, pool_pre_ping=True, pool_size=8, max_overflow=32, connect_args=SERVER_OPTIONS
            )
        except (ImportError, sa.exc.NoSuchModuleError) as error:
            raise StoreError(
                f"The store {self.url_masked} needs a driver that is not installed: "
                "pip install 'cloudmesh_actors[postgresql]'."
            ) from error

    def _check_schema(self) -> None:
        version = self.schema_version()
        self._refuse_newer(version)
        if version == SCHEMA_VERSION:
            return
        if not self.is_sqlite:
            raise StoreError(
                f"The store {self.url_masked} is at schema {version or 'none'}, this release needs {SCHEMA_VERSION}: "
                "run `cm-actors store upgrade` once."
            )
        self.upgrade()

    def _refuse_newer(self, version: str | None) -> None:
        if version is not None and version > SCHEMA_VERSION:
            raise StoreError(
                f"The store {self.url_masked} was made by a newer release (schema {version}, this one knows "
                f"{SCHEMA_VERSION}): upgrade cloudmesh_actors here."
            )

    @contextmanager
    def _upgrade_lock(self) -> Iterator[None]:
        if not self.is_sqlite:  # the migrations themselves take an advisory lock there
            yield
            return
        try:
            lock = os.open(f"{self.url.database}.upgrade", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"The store {self.url_masked} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # -- how it is watched

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            raise StoreUnavailable(f"The store {self.url_masked} is busy: other threads of this process write.")
        try:
            yield
        finally:
            self._writer.release()

    def _check_file(self) -> None:
        """Refuse a file that is not the one which was opened: what an open connection writes there would be lost."""
        if self._file is not None and self._identity() != self._file:
            raise StoreUnavailable(
                f"The file of the store {self.url_masked} was deleted or replaced while it was in use: "
                "restart what uses it (make workers-restart)."
            )

    def _identity(self) -> tuple[int, int] | None:
        if not self.is_sqlite:
            return None
        try:
            status = os.stat(self.url.database or "")  # noqa: PTH116 - asked at each use, and three times as fast
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.TimeoutError as error:
            raise StoreUnavailable(f"The store {self.url_masked} is busy: all connections are in use.") from error
        except (DBAPIError, self._driver.Error) as error:
            told = self._told(error)
            if told is None:
                raise
            raise told from error

    def _told(self, error: Exception) -> StoreError | None:
        """The sentence for an error of the database; None for one that is the statement's."""
        said = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(said, self._driver.OperationalError) or getattr(error, "connection_invalidated", False):
            return StoreUnavailable(f"The store {self.url_masked} does not answer: {_first_line(said)}.")
        if type(said) is sqlite3.DatabaseError:  # of its subclasses each says something else
            return StoreError(
                f"The store {self.url_masked} is damaged: {_first_line(said)}. Restore it from a backup, or move it "
                "away to begin anew."
            )
        return None


class _Own:
    """A thread's connection to an SQLite file, closed when the thread is gone; a fork leaves it to its parent."""

    def __init__(self, path: str) -> None:
        self._pid = -1
        self.connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
        self.connection.isolation_level = None  # we say BEGIN ourselves
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self._pid = os.getpid()

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self.connection.close()


def dialect_insert(table: sa.Table, on_sqlite: bool) -> Any:
    """An INSERT of SQLite's or PostgreSQL's dialect, for ON CONFLICT."""
    if on_sqlite:
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # not above: it is a tenth of a worker's time to start

    return postgresql.insert(table)


_opening = threading.RLock()
_opened: dict[Settings, Store] = {}
_latest: tuple[Settings, Store] | None = None
_inherited: list[Store] = []


def current() -> Store:
    """The store that the settings name, opened once a process."""
    global _latest  # noqa: PLW0603 - asked for with every message, and to hash the settings takes longer than to look
    config = settings.current()
    if _latest is not None and _latest[0] is config:
        return _latest[1]
    store = _opened.get(config)
    if store is None:
        with _opening:
            store = _opened.get(config) or Store(config.resolved_store_url)
            _opened[config] = store
    _latest = config, store
    return store


def reset() -> None:
    """Close and forget the opened store (tests, and a process whose settings changed)."""
    global _latest  # noqa: PLW0603
    _latest = None
    while _opened:
        _opened.popitem()[1].close()


def _leave_to_parent() -> None:
    """A fork neither uses nor closes its parent's connections: both would harm the parent's locks and log."""
    global _opening, _latest  # a thread that is not here may have held the lock
    _opening, _latest = threading.RLock(), None
    _inherited.extend(_opened.values())
    _opened.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def _open_sqlite(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    synchronous = connection.get_execution_options().get("cloudmesh_synchronous")
    if synchronous is None:
        driver.execute("BEGIN")
        return
    if connection.info.get("synchronous", "NORMAL") != synchronous:
        driver.execute(f"PRAGMA synchronous = {synchronous}")
        connection.info["synchronous"] = synchronous
    driver.execute("BEGIN IMMEDIATE")


def _first_line(error: BaseException | None) -> str:
    text = str(error or "").strip()
    return text.splitlines()[0].rstrip(".") if text else "no reason given"
