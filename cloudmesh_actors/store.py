"""The store: one engine and one schema for everything that must outlive a process.

SQLite (write-ahead log) by default, PostgreSQL when workers span hosts. Tables are declared on `metadata`
by the module that owns them; `migrations/` builds them.

Two ways in, both context managers that give a `sqlalchemy.Connection`::

    with store.current().read() as connection: ...       # a snapshot
    with store.current().write() as connection: ...      # a transaction, committed at the end

On SQLite a write begins with BEGIN IMMEDIATE: a read transaction that turns into a write fails whatever the
busy time-out is (https://www.sqlite.org/lang_transaction.html). Threads of one process queue on a lock of ours,
processes on SQLite's.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from cloudmesh_actors.errors import StoreError, StoreUnavailable

#: Every table of the library.
metadata = sa.MetaData()

#: The newest migration; a test compares it with `migrations/versions`.
SCHEMA_VERSION = "0002"

#: How long a writer waits for another process's transaction, in milliseconds.
BUSY_TIMEOUT_MS = 30_000

#: Kinds of file system (statfs f_type, see statfs(2)) on which SQLite's locks cannot be trusted.
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs"})

_WRITE = {"cloudmesh_write": True}
_WRITE_DURABLY = {"cloudmesh_write": True, "cloudmesh_durable": True}


class Store:
    """One database. Safe to share between threads, not between a parent and its fork."""

    def __init__(self, url: str | URL, *, check_schema: bool = True) -> None:
        self.url = make_url(url)
        self.url_masked = self.url.render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine() if self.is_sqlite else self._server_engine()
        self._writer = threading.RLock()
        if check_schema:
            with self._translated():
                self._check_schema()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose statements see one snapshot.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with self._translated(), self.engine.connect() as connection:
            yield connection

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
        options = _WRITE_DURABLY if durable else _WRITE
        with self._writer, self._translated(), self.engine.connect() as connection:
            with connection.execution_options(**options).begin():
                yield connection

    def insert(self, table: sa.Table) -> Any:
        """An INSERT of this database's dialect, for ON CONFLICT."""
        if self.is_sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # not above: it is a tenth of a worker's time to start

        return postgresql.insert(table)

    def upgrade(self) -> None:
        """Bring the schema to `SCHEMA_VERSION`. One process at a time does it, the others wait."""
        from cloudmesh_actors import migrations

        with self._translated(), self._upgrade_lock():
            if self.schema_version() != SCHEMA_VERSION:
                migrations.upgrade(self.engine)

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

    # -- how it is opened

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
        try:
            return sa.create_engine(self.url, pool_pre_ping=True, pool_size=8, max_overflow=32)
        except (ImportError, sa.exc.NoSuchModuleError) as error:
            raise StoreError(
                f"The store {self.url_masked} needs a driver that is not installed: "
                "pip install 'cloudmesh_actors[postgresql]' and begin the URL with postgresql+psycopg://."
            ) from error

    def _check_schema(self) -> None:
        version = self.schema_version()
        if version == SCHEMA_VERSION:
            return
        if version is not None and version > SCHEMA_VERSION:
            raise StoreError(
                f"The store {self.url_masked} was made by a newer release (schema {version}, this one knows "
                f"{SCHEMA_VERSION}): upgrade cloudmesh_actors here."
            )
        if not self.is_sqlite:
            raise StoreError(
                f"The store {self.url_masked} is at schema {version or 'none'}, this release needs {SCHEMA_VERSION}: "
                "run `cm-actors store upgrade` once."
            )
        self.upgrade()

    @contextmanager
    def _upgrade_lock(self) -> Iterator[None]:
        if not self.is_sqlite:  # PostgreSQL's migrations are run by hand, once
            yield
            return
        with Path(f"{self.url.database}.upgrade").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise StoreUnavailable(f"The store {self.url_masked} does not answer: {_first_line(error)}.") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise StoreUnavailable(f"The store {self.url_masked} went away: {_first_line(error)}.") from error
            raise


@lru_cache(maxsize=1)
def _opened(url: str, pid: int) -> Store:
    del pid  # a fork must not share its parent's connections
    return Store(url)


def current() -> Store:
    """The store that the settings name, opened once a process."""
    from cloudmesh_actors import settings

    return _opened(settings.current().resolved_store_url, os.getpid())


def reset() -> None:
    """Forget the opened store (tests, and a process whose settings changed)."""
    if _opened.cache_info().currsize:
        _opened.cache_clear()


def network_file_system(folder: Path) -> str | None:
    """The kind of network file system that `folder` lies on, or None when it is local (proc(5), mountinfo)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux: no cheap way to know
        return None
    return _kind_of_mount(str(folder.resolve()), lines)


def _kind_of_mount(folder: str, mountinfo: Sequence[str]) -> str | None:
    best, kind = "", ""
    for line in mountinfo:
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        if len(point) >= len(best) and (folder + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, right.split()[0]
    return kind if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.sshfs") else None


def _open_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("cloudmesh_write"):
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options.get('cloudmesh_durable') else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _first_line(error: DBAPIError) -> str:
    return (
        str(error.orig).strip().splitlines()[0].rstrip(".")
        if error.orig and str(error.orig).strip()
        else "no reason given"
    )
