"""The store on SQLite: how it is opened, what it says when it cannot be, and who may write when."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudmesh_actors import settings, steps, store
from cloudmesh_actors.errors import StoreError, StoreUnavailable
from cloudmesh_actors.steps import Queued
from cloudmesh_actors.store import SCHEMA_VERSION, Store

ROOT = Path(store.__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
def opened(path: Path):
    opened = Store(f"sqlite:///{path}")
    yield opened
    opened.close()


def queued(step_id: str, root_id: str | None = None) -> Queued:
    return Queued(step_id, root_id or step_id, None, None, "rack.events", "rack", "{}", "me@here", 1.0, None)


def insert(into: Store, *ids: str) -> None:
    with into.write() as connection:
        steps.insert(connection, into, [queued(i) for i in ids])


def count(of: Store) -> int:
    with of.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(steps.steps))


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=ROOT.parent,
    )  # fmt: skip


class TestOpening:
    def test_a_new_file_gets_folder_and_schema(self, opened: Store, path: Path) -> None:
        assert path.exists()
        assert opened.schema_version() == SCHEMA_VERSION
        with opened.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

    def test_the_newest_migration_is_the_one_that_the_code_needs(self) -> None:
        versions = sorted(file.name[:4] for file in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))

        assert versions[-1] == SCHEMA_VERSION

    def test_a_store_in_memory_is_refused(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:"):
            with pytest.raises(StoreError, match="cannot be shared by workers: name a file"):
                Store(url)

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreUnavailable, match=f"folder {tmp_path}/file/x cannot be made: Not a directory"):
            Store(f"sqlite:///{tmp_path}/file/x/store.db")

    def test_a_folder_that_takes_no_files_is_a_sentence(self) -> None:
        with pytest.raises(StoreUnavailable, match=r"sqlite:////proc/store.db does not answer: unable to open"):
            Store("sqlite:////proc/store.db")

    def test_a_file_that_is_no_database_is_called_damaged_and_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("diary " * 1000)

        with pytest.raises(StoreError, match=r"is damaged: file is not a database\. Restore it from a backup"):
            Store(f"sqlite:///{path}")
        assert path.read_text().startswith("diary")

    def test_a_store_of_a_newer_release_is_refused_and_not_touched(self, opened: Store, path: Path) -> None:
        with opened.write() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999'"))

        with pytest.raises(StoreError, match=r"made by a newer release .*schema 0999.*upgrade cloudmesh_actors here"):
            Store(f"sqlite:///{path}")
        with pytest.raises(StoreError, match="newer release"):
            Store(f"sqlite:///{path}", check_schema=False).upgrade()

    def test_a_database_without_a_driver_says_what_to_install(self) -> None:
        with pytest.raises(StoreError, match=r"needs a driver that is not installed: pip install 'cloudmesh_actors\["):
            Store("postgresql+strange://user:secret@host/db")

    def test_a_server_that_is_not_there_is_named_without_its_password(self) -> None:
        with pytest.raises(StoreUnavailable) as caught:
            Store("postgresql://alice:s3cret@127.0.0.1:1/jobs")

        assert "postgresql://alice:***@127.0.0.1:1/jobs does not answer" in str(caught.value)
        assert "s3cret" not in repr(caught.value) + str(caught.value)

    def test_processes_that_open_a_new_store_at_once_all_succeed(self, path: Path) -> None:
        program = "import sys; from cloudmesh_actors.store import Store; print(Store(sys.argv[1]).schema_version())"
        children = [child(program, f"sqlite:///{path}") for _ in range(4)]

        assert [c.communicate(timeout=60)[0].strip() for c in children] == [SCHEMA_VERSION] * 4

    def test_an_upgrade_waits_for_another_one(self, path: Path) -> None:
        path.parent.mkdir()
        with Path(f"{path}.upgrade").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            opening = threading.Thread(target=lambda: Store(f"sqlite:///{path}").close())
            opening.start()
            opening.join(0.5)
            assert opening.is_alive()
        opening.join(20)
        assert not opening.is_alive()


class TestNetworkFileSystems:
    def test_a_store_on_one_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "network_file_system", lambda folder: "nfs4")

        with pytest.raises(
            StoreError, match=r"network file system \(nfs4\).*set CLOUDMESH_STATE_DIR to a local folder"
        ):
            Store(f"sqlite:///{path}")


class TestReadingAndWriting:
    def test_a_write_that_raises_leaves_nothing(self, opened: Store) -> None:
        with pytest.raises(ZeroDivisionError), opened.write() as connection:
            steps.insert(connection, opened, [queued("a")])
            raise ZeroDivisionError

        assert count(opened) == 0

    def test_a_read_is_a_snapshot(self, opened: Store) -> None:
        with opened.read() as connection:
            before = connection.scalar(sa.select(sa.func.count()).select_from(steps.steps))
            insert(opened, "a")
            after = connection.scalar(sa.select(sa.func.count()).select_from(steps.steps))

        assert (before, after, count(opened)) == (0, 0, 1)

    def test_only_a_durable_write_waits_for_the_disk(self, opened: Store) -> None:
        def synchronous(durable: bool) -> int:
            with opened.write(durable=durable) as connection:
                return connection.exec_driver_sql("PRAGMA synchronous").scalar()

        normal, full = 1, 2
        assert [synchronous(durable) for durable in (False, True, True, False)] == [normal, full, full, normal]

    def test_a_writer_waits_for_a_lock_that_another_process_holds_for_seconds(self, opened: Store, path: Path) -> None:
        holder = child(
            "import sqlite3, sys, time\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(2); c.execute('COMMIT')",
            path,
        )
        assert holder.stdout and holder.stdout.readline() == "held\n"

        began = time.monotonic()
        insert(opened, "a")

        assert time.monotonic() - began > 1
        assert count(opened) == 1
        holder.communicate()

    def test_one_that_waits_in_vain_says_so(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "BUSY_TIMEOUT_MS", 100)
        opened = Store(f"sqlite:///{path}")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match=r"store\.db does not answer: database is locked"):
            insert(opened, "a")
        assert count(opened) == 0  # readers do not mind

        other.close()
        insert(opened, "a")
        opened.close()

    def test_threads_wait_for_each_other_but_not_for_ever(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "BUSY_TIMEOUT_MS", 100)
        opened = Store(f"sqlite:///{path}")
        caught: list[Exception] = []

        def write() -> None:
            try:
                insert(opened, "a")
            except StoreUnavailable as error:
                caught.append(error)

        with opened.write():
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(10)
        assert "is busy: other threads of this process write" in str(caught[0])
        opened.close()

    @pytest.mark.parametrize("fate", ["deleted", "replaced"])
    def test_a_file_that_is_gone_is_noticed_before_anything_is_lost_in_it(
        self, opened: Store, path: Path, fate: str
    ) -> None:
        insert(opened, "a")
        path.unlink()
        if fate == "replaced":
            Store(f"sqlite:///{path}").close()

        for use in (lambda: insert(opened, "b"), lambda: count(opened)):
            with pytest.raises(StoreUnavailable, match=r"was deleted or replaced.*make workers-restart"):
                use()
        assert path.exists() == (fate == "replaced")

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_full_disk_is_a_sentence_and_passes_when_there_is_room_again(self, opened: Store) -> None:
        insert(opened, "a")
        pid = os.fork()
        if pid == 0:
            os._exit(_write_on_a_full_disk(str(opened.url)))

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert count(opened) == 2


def _write_on_a_full_disk(url: str) -> int:
    """In a process whose files cannot grow: a write fails with a sentence; with room again it succeeds."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    opened = Store(url)
    size = Path(opened.url.database or "").with_name("store.db-wal").stat().st_size
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        insert(opened, "b")
    except StoreUnavailable as error:
        told = "does not answer: " in str(error)
    else:
        told = False
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    insert(opened, "b")
    opened.close()
    return 0 if told else 1


class TestCurrent:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "state"))
        settings.reset()

    def test_it_is_opened_once_by_however_many_threads(self) -> None:
        found: list[Store] = []
        threads = [threading.Thread(target=lambda: found.append(store.current())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({id(one) for one in found}) == 1

    def test_it_follows_the_settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = store.current()
        monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "other"))
        settings.reset()

        assert store.current() is not first
        assert store.current().url_masked.endswith("/other/store.db")

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_fork_opens_its_own_and_harms_neither(self) -> None:
        insert(store.current(), "parent")
        with store.current().write():  # a lock that the child must not wait for
            pid = os.fork()
            if pid == 0:
                inherited = store._inherited[-1]
                os._exit(0 if store.current() is not inherited and count(store.current()) == 1 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        insert(store.current(), "after")

        assert count(store.current()) == 2
