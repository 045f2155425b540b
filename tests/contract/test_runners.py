"""What every runner of scripts does: a simulated one, one on this host, and one over SSH to a real sshd."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from uuid import uuid4

import pytest
from sshd import Sshd, running

from cloudmesh_actors.clients.shell.local import LocalRunner
from cloudmesh_actors.clients.shell.model import Kept, Look, Phase, Runner, Script
from cloudmesh_actors.clients.shell.remote import RemoteRunner
from cloudmesh_actors.clients.shell.simulator import SimulatedRunner
from cloudmesh_actors.site import Host

DEADLINE_S = 40.0

KEEP = Kept(head=299, tail=16)

#: A runner like the one before, as another process would make it. Over SSH they share a connection, for speed.
Again = Callable[[], AbstractContextManager[Runner]]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    with running(folder) as server:
        (folder / "known_hosts").write_text(server.known_hosts_line())
        yield server


@pytest.fixture(scope="module")
def remote(sshd: Sshd) -> Iterator[RemoteRunner]:
    host = Host("i001", "127.0.0.1", sshd.port, getpass.getuser(), sshd.user_key, sshd.folder / "known_hosts")
    with RemoteRunner(host, root=str(sshd.folder / "runs"), keep=KEEP) as runner:
        yield runner


@pytest.fixture(params=["simulator", "local", "ssh"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Again:
    match request.param:
        case "simulator":
            return lambda: SimulatedRunner(tmp_path / "runs", seconds=0.2, keep=KEEP)
        case "local":
            return lambda: LocalRunner(tmp_path / "runs", keep=KEEP)
    remote: RemoteRunner = request.getfixturevalue("remote")
    return lambda: nullcontext(remote)


@pytest.fixture
def runner(again: Again) -> Iterator[Runner]:
    with again() as it:
        yield it


def script(*commands: tuple[str, ...], seconds: float = 60, **more: str) -> Script:
    return Script(uuid4().hex, commands, seconds, more)


def to_the_end(runner: Runner, name: str) -> tuple[Look, str]:
    """The last look at a script, and all that it printed."""
    printed, end = b"", time.monotonic() + DEADLINE_S
    while True:
        seen = runner.look(name, len(printed))
        printed += seen.output
        if seen.over and seen.complete:
            return seen, printed.decode()
        assert time.monotonic() < end, seen
        time.sleep(0.02)


def until(runner: Runner, name: str, phase: Phase) -> Look:
    end = time.monotonic() + DEADLINE_S
    while (seen := runner.look(name)).phase is not phase:
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    return seen


def test_a_script_that_ends_well_has_its_output_and_the_status_0(runner: Runner) -> None:
    it = script(("echo", "one", "two"), ("true",), ("echo", "three"))

    assert runner.start(it)
    seen, printed = to_the_end(runner, it.name)

    assert (seen.phase, seen.command, seen.status) == (Phase.ENDED, 3, 0)
    assert printed == "one two\nthree\n"


def test_a_script_that_fails_stops_there_and_tells_which_command_it_was(runner: Runner) -> None:
    it = script(("echo", "before"), ("false",), ("echo", "after"))

    runner.start(it)
    seen, printed = to_the_end(runner, it.name)

    assert (seen.phase, seen.command, seen.status) == (Phase.ENDED, 2, 1)
    assert printed == "before\n"


def test_words_stay_words_whatever_is_in_them(runner: Runner) -> None:
    words = ["a b", "", "$HOME", "$(id)", "`id`", "'", '"', "\\", "*", "; false", "é\u202e", "a\nb", "--", "!x", "~"]

    runner.start(it := script(("echo", *words)))

    assert to_the_end(runner, it.name)[1] == " ".join(words) + "\n"


def test_what_is_printed_comes_while_the_script_runs(runner: Runner) -> None:
    it = script(("echo", "first"), ("sleep", "30"))

    runner.start(it)
    end = time.monotonic() + DEADLINE_S
    while (seen := runner.look(it.name)).command != 2:
        assert time.monotonic() < end
        time.sleep(0.02)

    assert (seen.phase, seen.command, seen.status, seen.output) == (Phase.RUNNING, 2, None, b"first\n")
    assert runner.look(it.name, 6).output == b""
    runner.abort(it.name)
    assert to_the_end(runner, it.name)[0].phase is Phase.KILLED


def test_a_name_is_used_once(runner: Runner, again: Again) -> None:
    it = script(("echo", "once"))

    assert runner.start(it)
    assert not runner.start(it)
    to_the_end(runner, it.name)
    with again() as other:
        assert not other.start(it)
        assert to_the_end(other, it.name)[1] == "once\n"


def test_another_process_sees_how_it_ended(runner: Runner, again: Again) -> None:
    it = script(("echo", "hello"), ("sleep", "0.3"), ("false",))
    runner.start(it)

    with again() as other:
        seen, printed = to_the_end(other, it.name)

    assert (seen.phase, seen.status, printed) == (Phase.ENDED, 1, "hello\n")


def test_what_takes_too_long_is_ended(runner: Runner) -> None:
    it = script(("echo", "begins"), ("sleep", "60"), seconds=1)

    runner.start(it)
    seen, printed = to_the_end(runner, it.name)

    assert (seen.phase, seen.status, printed) == (Phase.LATE, None, "begins\n")


def test_an_aborted_script_is_ended_and_stays_so(runner: Runner) -> None:
    runner.start(it := script(("sleep", "60")))
    until(runner, it.name, Phase.RUNNING)

    runner.abort(it.name)
    runner.abort(it.name)

    assert to_the_end(runner, it.name)[0].phase is Phase.KILLED
    assert runner.look(it.name).phase is Phase.KILLED


def test_an_abort_after_the_end_changes_nothing(runner: Runner) -> None:
    runner.start(it := script(("echo", "done")))
    to_the_end(runner, it.name)

    runner.abort(it.name)

    seen, printed = to_the_end(runner, it.name)
    assert (seen.phase, seen.status, printed) == (Phase.ENDED, 0, "done\n")


def test_nothing_is_known_of_what_was_not_started_or_forgotten(runner: Runner) -> None:
    it = script(("true",))

    assert runner.look(it.name).phase is Phase.ABSENT
    runner.abort(it.name)
    runner.start(it)
    to_the_end(runner, it.name)
    runner.forget(it.name)
    runner.forget(it.name)
    assert runner.look(it.name).phase is Phase.ABSENT


def test_of_a_long_output_beginning_and_end_are_kept(again: Again) -> None:
    it = script(*(("echo", f"line {n:03}") for n in range(100)))

    with again() as runner:
        runner.start(it)
        seen, printed = to_the_end(runner, it.name)

    assert printed == "".join(f"line {n:03}\n" for n in range(33)) + "li"
    assert seen.tail == b"ne 098\nline 099\n"


def test_places_are_told(runner: Runner, again: Again) -> None:
    with again() as other:
        assert other.place == runner.place != ""
