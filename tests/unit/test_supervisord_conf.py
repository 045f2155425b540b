"""supervisord's own parser reads what we render, and sees what the settings say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from cloudmesh_actors import settings
from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.settings import Settings
from workers import configuration


def read(tmp_path: Path, config: Settings, **options: object) -> ServerOptions:
    """Render, and have supervisord parse it."""
    (config.state_dir / "boot").mkdir(parents=True, exist_ok=True)
    config.log_dir.mkdir(parents=True, exist_ok=True)
    config.make_runtime_dir()
    file = tmp_path / "supervisord.conf"
    file.write_text(configuration.render(config, **options))  # type: ignore[arg-type]
    parsed = ServerOptions()
    parsed.environ_expansions |= {f"ENV_{name}": value for name, value in configuration.environment(config).items()}
    parsed.realize(["-c", str(file), "-n"])
    return parsed


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("CLOUDMESH_RUNTIME_ROOT", str(tmp_path))
    return settings.current()


def groups(parsed: ServerOptions) -> dict[str, object]:
    return {group.name: group.process_configs[0] for group in parsed.process_group_configs}


def test_the_default_fleet_is_seven_workers_beat_web_and_the_embedded_broker(tmp_path: Path, config: Settings) -> None:
    names = groups(read(tmp_path, config))

    assert sorted(names) == ["beat", "l1", "l2", "p1", "p2", "q1", "rack", "rain", "valkey", "web"]


def test_only_the_console_waits_until_it_is_asked_for(tmp_path: Path, config: Settings) -> None:
    names = groups(read(tmp_path, config))

    assert [name for name, process in names.items() if not process.autostart] == ["web"]


def test_the_broker_is_started_before_the_others(tmp_path: Path, config: Settings) -> None:
    names = groups(read(tmp_path, config))

    assert min(names, key=lambda name: names[name].priority) == "valkey"


def test_with_a_broker_of_ones_own_there_is_no_embedded_one(
    tmp_path: Path, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "redis://:secret@db.example.org/0")
    settings.reset()

    parsed = read(tmp_path, settings.current())

    assert "valkey" not in groups(parsed)
    assert "secret" not in (tmp_path / "supervisord.conf").read_text()


def test_a_worker_gets_longer_to_end_than_its_tasks(tmp_path: Path, config: Settings) -> None:
    worker = groups(read(tmp_path, config))["l1"]

    assert worker.stopwaitsecs > config.grace
    assert worker.autorestart
    assert worker.stopasgroup is False


def test_threads_are_set_for_each_family_alone(
    tmp_path: Path, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDMESH_THREADS", "8 rack=3")
    settings.reset()

    names = groups(read(tmp_path, settings.current()))

    assert names["rack"].environment["CLOUDMESH_THREADS"] == "3"
    assert names["l1"].environment["CLOUDMESH_THREADS"] == "8"


def test_spaces_in_paths_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "log files; 'all' of \"them\""
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(odd))
    monkeypatch.setenv("CLOUDMESH_RUNTIME_ROOT", str(tmp_path))

    names = groups(read(tmp_path, settings.current(), python="/opt/a b/python"))

    assert names["rack"].stdout_logfile == str(odd / "state" / "boot" / "rack.out")
    assert names["rack"].command == "'/opt/a b/python' -P -m workers rack"


@pytest.mark.parametrize("name", ["a #b", "a ;b", "a\nb", "50%"])
def test_a_path_that_supervisord_would_cut_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", str(tmp_path / name))

    with pytest.raises(SettingsError, match="cannot be used"):
        configuration.render(settings.current())


def test_the_umask_is_the_callers(tmp_path: Path, config: Settings) -> None:
    assert read(tmp_path, config, umask=0o027).umask == 0o027


def test_paths_in_the_fleets_environment_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", "somewhere")

    environment = configuration.environment(settings.current(), {"CLOUDMESH_LOG_DIR": "somewhere", "HOME": "/root"})

    assert environment["CLOUDMESH_LOG_DIR"] == str(Path.cwd() / "somewhere")
    assert environment["CLOUDMESH_STATE_DIR"] == str(Path.cwd() / "somewhere" / "state")
    assert environment["HOME"] == "/root"
    assert "CLOUDMESH_SITE" not in environment


def test_a_change_that_concerns_single_workers_is_no_change_of_the_fleet() -> None:
    before = {"CLOUDMESH_WORKERS": "rack=1", "CLOUDMESH_LOG_DIR": "/a", "PATH": "/bin"}

    assert configuration.same_settings(before, {**before, "CLOUDMESH_WORKERS": "rack=2", "PATH": "/usr/bin"})
    assert configuration.same_settings(before, {**before, "CLOUDMESH_THREADS": "4", "CLOUDMESH_SITE": ""})
    assert not configuration.same_settings(before, {**before, "CLOUDMESH_SITE": "/etc/site.yml"})


def test_a_directory_too_deep_for_sockets_is_refused_with_the_number_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDMESH_RUNTIME_ROOT", "/tmp/" + "x" * 100)

    with pytest.raises(SettingsError, match=r"CLOUDMESH_RUNTIME_ROOT .* \d+ bytes shorter"):
        configuration.check_sockets(settings.current())


def test_the_default_directory_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_294_967_294)

    configuration.check_sockets(settings.current())
