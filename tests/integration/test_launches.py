"""Launches through the queue, on servers that are this host, a real sshd, and simulated."""

from __future__ import annotations

import getpass
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import psutil
import pytest
from engines import wait_until
from sshd import Sshd, running

from cloudmesh_actors import broker as brokers
from cloudmesh_actors import jobs, launcher, leases, settings, site, store
from cloudmesh_actors.errors import ArgumentError, CloudmeshError, JobError
from cloudmesh_actors.launcher import control, recipes, records
from cloudmesh_actors.launcher.model import LaunchState

SITE = """
clusters:
  india: {{nodes: "i[001-020]"}}
hosts:
  i001: {{driver: local}}
  i002: {{driver: ssh, address: 127.0.0.1, port: {port}, user: {user}, key_file: {folder}/user_key, known_hosts: {folder}/known_hosts}}
  i003: {{driver: ssh, address: 127.0.0.1, port: 1, user: nobody, key_file: {folder}/user_key, known_hosts: {folder}/known_hosts}}
  "i[004-019]": {{driver: simulator}}
recipes: recipes
"""  # noqa: E501

RECIPES = {
    "tell.yaml": """
        label: Tells its arguments and its environment
        parameters:
          first: {required: true}
          second: {type: integer, default: 7}
        script: tell.sh
        arguments: ["{first}", "{second}", "{server}"]
        """,
    "tell.sh": """#!/bin/sh
echo "$0" | grep -q "script$" && printf '%s|' "$@" "$CM_FIRST" "$CM_SERVER" "$CM_RECIPE" && echo
env | grep -c CLOUDMESH_ && exit 5
exit 0
""",
    "many.yaml": """
        label: Tells many words
        parameters: {{{parameters}}}
        script: [[printf, '%s\\n', {words}]]
        """,
    "sleep.yaml": """
        label: Sleeps, and starts one who sleeps
        script: [[sh, -c, 'sleep 300 & echo $! $$; wait']]
        timeout: {timeout}
        """,
    "stubborn.yaml": """
        label: Does not want to end
        script: [[sh, -c, 'trap "" TERM; sleep 300 & echo $! $$; wait; sleep 300']]
        """,
    "pause.yaml": "{label: Waits a little, script: [[sleep, '0.3']], changes_node: true}",
    "false.yaml": "{label: Fails, script: [[echo, 'to no avail'], ['false']]}",
    "targeted.yaml": "{label: On some only, script: [['true']], targets: 'i[004-006]'}",
}
MANY = 25


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    home = f"SetEnv HOME={folder}\n"
    with running(folder, more=home) as server:
        (folder / "known_hosts").write_text(server.known_hosts_line())
        yield server


@pytest.fixture(autouse=True)
def here(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A site, a store and a broker in memory, and a worker among the threads of this process."""
    write_site(tmp_path, sshd)
    for name, value in {
        "SITE": tmp_path / "site.yaml", "LOG_DIR": tmp_path / "logs", "BROKER_URL": "stub://", "LAUNCH_DELAY": 0,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CLOUDMESH_{name}", str(value))
    settings.reset()
    site.reset()
    recipes.reset()
    broker = brokers.current()
    broker.declare_queue("launcher")
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, queues={"launcher"}, worker_threads=6, worker_timeout=50)
    worker.start()
    yield
    worker.stop(20_000)
    brokers.reset()
    store.reset()


def write_site(folder: Path, sshd: Sshd, timeout: float = 60) -> None:
    (folder / "site.yaml").write_text(SITE.format(port=sshd.port, user=getpass.getuser(), folder=sshd.folder))
    (folder / "recipes").mkdir(exist_ok=True)
    for name, text in RECIPES.items():
        if name == "many.yaml":
            parameters = ", ".join(f"p{n}: {{}}" for n in range(MANY))
            text = text.format(parameters=parameters, words=", ".join(f'"{{p{n}}}"' for n in range(MANY)))
        (folder / "recipes" / name).write_text(text.replace("{timeout}", str(timeout)))


def launch(*arguments: Any, **named: Any) -> str:
    return str(launcher.launch.send(*arguments, **named).message_id)


def ended(job_id: str) -> dict[str, str]:
    """The states of a job's launches by server, when it has ended."""
    jobs.wait(job_id, 60)
    return {it.server: it.state.value for it in launcher.launches(job=job_id)}


def output(job_id: str, server: str = "i001") -> str:
    [it] = launcher.launches(job=job_id, server=server)
    return launcher.output(it.step_id)


def test_a_recipe_is_launched_on_servers_of_all_kinds() -> None:
    job_id = launch("tell", "i[001-002,004]", {"first": "a b"})

    assert ended(job_id) == {"i001": "active", "i002": "active", "i004": "active"}
    assert output(job_id, "i001") == "a b|7|i001|a b|i001|tell|\n0\n"
    assert output(job_id, "i002") == "a b|7|i002|a b|i002|tell|\n0\n"
    assert output(job_id, "i004") == "simulated: script 'a b' 7 i004\n"
    job = jobs.get(job_id)
    assert (job.state, job.result) == ("done", {"recipe": "tell", "servers": "i[001-002,004]", "count": 3})
    assert sorted((it.node, it.ok) for it in jobs.node_outcomes(job_id)) == [
        ("i001", True), ("i002", True), ("i004", True),
    ]  # fmt: skip


def test_nothing_is_left_where_scripts_ran(sshd: Sshd, tmp_path: Path) -> None:
    ended(launch("tell", "i[001-002]", {"first": "x"}))

    assert list((tmp_path / "logs" / "state" / "launches").iterdir()) == []
    home = Path.home() / ".cloudmesh_actors" / "launches"
    assert not home.exists() or list(home.iterdir()) == []


def test_one_server_that_fails_costs_no_other() -> None:
    job_id = launch("tell", "i[001,003]", {"first": "x"})

    assert ended(job_id) == {"i001": "active", "i003": "error"}
    job = jobs.get(job_id)
    [bad] = launcher.launches(job=job_id, state=LaunchState.ERROR)
    assert job.state == "failed"
    assert job.error == bad.error
    assert bad.error
    assert "no connection to port 1" in bad.error
    assert job.traceback is None


def test_a_launch_that_failed_is_launched_again_where_it_failed() -> None:
    job_id = launch("false", "i[001,004]")
    assert ended(job_id) == {"i001": "error", "i004": "error"}
    assert output(job_id) == "to no avail\n"

    again = launcher.relaunch(job_id)
    assert ended(again) == {"i001": "error", "i004": "error"}
    assert jobs.get(again).retry_of == job_id

    well = launch("tell", "i004", {"first": "x"})
    ended(well)
    with pytest.raises(JobError, match="no launch that failed"):
        launcher.relaunch(well)
    assert ended(launcher.relaunch(well, failed_only=False)) == {"i004": "active"}


def processes_of(job_id: str) -> list[int]:
    """The processes that the script has told."""

    def told() -> list[str]:
        return [word for it in launcher.launches(job=job_id) for word in launcher.output(it.step_id).split()]

    wait_until(lambda: len(told()) == 2 or time.sleep(0.1))
    return [int(word) for word in told()]


def live(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("recipe", "server"), [("stubborn", "i001"), ("sleep", "i002")])
def test_an_abort_ends_the_script_and_what_it_started_even_what_ignores_it(recipe: str, server: str) -> None:
    job_id = launch(recipe, server)
    pids = processes_of(job_id)
    assert all(map(live, pids))

    launcher.abort(job_id)

    assert ended(job_id) == {server: "aborted"}
    wait_until(lambda: not any(map(live, pids)))


def test_a_script_that_takes_too_long_is_ended(sshd: Sshd, tmp_path: Path) -> None:
    write_site(tmp_path, sshd, timeout=1)
    job_id = launch("sleep", "i001")
    pids = processes_of(job_id)

    assert ended(job_id) == {"i001": "error"}
    [it] = launcher.launches(job=job_id)
    assert it.error
    assert "was not over after 1 s, and was ended" in it.error
    wait_until(lambda: not any(map(live, pids)))


def test_a_script_that_nobody_follows_is_ended_when_its_launch_was_aborted(tmp_path: Path) -> None:
    job_id = launch("sleep", "i001")
    pids = processes_of(job_id)
    [it] = launcher.launches(job=job_id)
    orphan = "an-orphan"
    with_the_script_of(it.step_id, orphan)

    assert records.left_alone() == [orphan]
    settled = launcher.settle.send()
    assert jobs.wait(settled.message_id, 60).result == [orphan]

    wait_until(lambda: not any(map(live, pids)))
    assert records.left_alone() == []
    launcher.abort(job_id)
    ended(job_id)


def with_the_script_of(step_id: str, orphan: str) -> None:
    """A launch whose step was aborted between two runs, while its script ran."""
    from cloudmesh_actors import steps

    script = records.begun(step_id)
    assert script
    assert script.script
    assert script.place
    records.add(orphan, "sleep", {}, [(orphan, "i001")])
    records.deploying(orphan, script.script, script.place)
    row = steps.Queued(orphan, orphan, None, None, "launcher.deploy", "launcher", "{}", "me", time.time(), None, None)
    with store.current().write() as connection:
        steps.insert(connection, store.current(), [row])
        steps.abort(connection, orphan, time.time())


def test_a_recipe_that_changes_its_node_holds_the_lease_and_respects_anothers() -> None:
    first = launch("pause", "i001")
    wait_until(lambda: [lease.node for lease in leases.holders()] == ["i001"])
    second, third = launch("pause", "i001"), launch("pause", "i001", wait_lease=30)

    assert ended(first) == {"i001": "active"}
    assert ended(second) == {"i001": "error"}
    assert ended(third) == {"i001": "active"}
    [refused] = launcher.launches(job=second)
    assert refused.error
    assert "held by job" in refused.error
    assert leases.holders() == []


def test_a_first_step_that_runs_again_sends_no_server_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = launch("tell", "i[004-006]", {"first": "x"})
    ended(job_id)

    launched = control.of_job(job_id)
    from cloudmesh_actors.launcher import actors

    actors.send_all([(it.step_id, it.server) for it in launched], "tell", {"first": "x"}, 0)
    time.sleep(0.5)

    assert ended(job_id) == dict.fromkeys(("i004", "i005", "i006"), "active")
    assert len(jobs.node_outcomes(job_id)) == 3


def test_a_message_for_one_server_may_be_sent_by_itself() -> None:
    message = launcher.deploy.send("tell", "i004", {"first": "x"})

    assert ended(message.message_id) == {"i004": "active"}


def test_called_as_a_function_it_launches_here_and_now() -> None:
    told = launcher.launch("tell", "i[001,004]", {"first": "x"})

    assert told["count"] == 2
    assert {it.state for it in launcher.launches()} == {LaunchState.ACTIVE}


# -- what is refused, and what does no harm


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: launcher.launch.send("tel", "i001"), "did you mean tell"),
        (lambda: launcher.launch.send("tell", "i001"), "first is missing"),
        (lambda: launcher.launch.send("tell", "i001", {"first": "x", "second": "y"}), "second is 'y'"),
        (lambda: launcher.launch.send("tell", "i099", {"first": "x"}), "i099 is not in the site"),
        (lambda: launcher.launch.send("tell", "i020", {"first": "x"}), "`hosts:`"),
        (lambda: launcher.launch.send("tell", "i001", ["first"]), "parameters"),
        (lambda: launcher.launch.send("targeted", "i[001,004]"), "i001 is not among its targets"),
        (lambda: launcher.deploy.send("tell", "i[004-005]", {"first": "x"}), "are several servers"),
    ],
)
def test_what_is_wrong_is_refused_by_the_sender(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        call()
    assert jobs.latest() == []


def injections(canary: Path) -> list[str]:
    """Texts that would have an effect if anything but a program's argument were made of them."""
    act = f"touch {canary}"
    sql = "DROP TABLE launcher_launches"
    inner = [
        act, f"$({act})", f"`{act}`", f"; {act}", f"| {act}", f"|| {act}", f"&& {act}", f"& {act} &", f"\n{act}\n",
        f"'; {act}; '", f'"; {act}; "', f"\\'; {act} #", f"$IFS;{act}", f"${{IFS}}{act}", f">{canary}", f">>{canary}",
        f"<({act})", f"%0a{act}", f"{{server}};{act}", f"{{{{server}}}}$({act})", "{first}", "{}", "{0}", "%s%n",
        f"'; {sql}; --", f'"; {sql}; --', "1 OR 1=1", "../../../etc/passwd", "/etc/passwd", "~root", "*", "?", "[a-z]",
        f"-e{act}", f"--config={canary}", "-rf /", f"x\x00;{act}", f"\x1b]0;{act}\x07", f"<script>{act}</script>",
        f"{{{{ 7*7 }}}}{act}", f"@india;{act}", f"i[001-{act}]", "i[001-999999999]", f"!{act}", f"^x^{act}",
        f"\u202e{act}", f"x\r{act}", f"$'\\n{act}'", f"$(({act}))", f"eval {act}",
    ]  # fmt: skip
    around = [("", ""), ("x", ""), ("", "x"), ("'", "'"), ('"', '"'), ("\\", ""), ("x=", ""), ("i001", ""), ("(", ")"),
              ("tell", "")]  # fmt: skip
    return [f"{before}{text}{after}" for text, (before, after) in itertools.product(inner, around)]


def test_five_hundred_injections_as_recipe_or_server_are_refused_without_effect(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    texts = injections(canary)

    for text in texts:
        with pytest.raises(CloudmeshError):
            launch(text, "i001", {"first": "x"})
        if text not in ("*", "i001*"):  # these are nodes
            with pytest.raises(CloudmeshError):
                launch("tell", text, {"first": "x"})
        with pytest.raises(CloudmeshError):
            launch("tell", "i001", {text: "x"})

    assert len(texts) >= 500
    assert not canary.exists()
    assert jobs.latest() == []
    assert launcher.launches() == []


@pytest.mark.parametrize("server", ["i001", "i002"])
def test_five_hundred_injections_as_a_parameter_are_words_and_nothing_else(server: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    texts = injections(canary)
    taken = [text for text in texts if recipes.find("many").parameters[0].name and is_taken(text)]
    chunks = [taken[first : first + MANY] for first in range(0, len(taken), MANY)]

    sent = [launch("many", server, {f"p{n}": text for n, text in enumerate(chunk)}) for chunk in chunks]
    for job_id, chunk in zip(sent, chunks, strict=True):
        assert ended(job_id) == {server: "active"}
        assert output(job_id, server).split("\n")[: len(chunk)] == chunk

    assert len(taken) > 350
    assert not canary.exists()


def is_taken(text: str) -> bool:
    """Whether a parameter may be this; control characters and options may not."""
    try:
        recipes.find("many").check({"p0": text})
    except ArgumentError:
        return False
    return True
