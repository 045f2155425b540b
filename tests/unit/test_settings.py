from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmesh_actors import settings
from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.families import FAMILIES, WorkerSpec
from cloudmesh_actors.secret import known_values
from cloudmesh_actors.settings import Settings, variable

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "settings.md"


def refusal(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in values.items():
        monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError) as caught:
        settings.read()
    assert caught.value.__suppress_context__, "pydantic's error, with the values in it, must not show"
    return str(caught.value)


def test_without_any_variable_the_defaults_of_the_design_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings.read()
    assert (found.site, found.broker_url, found.store_url) == (None, "", "")
    assert (found.web_host, found.web_port, found.quorum_queues) == ("127.0.0.1", 5000, False)
    assert found.log_dir == tmp_path / "logs"
    assert found.state_dir == tmp_path / "logs" / "state"
    assert found.resolved_store_url == f"sqlite:///{tmp_path}/logs/state/store.db"


def test_the_fleet_of_the_defaults_has_the_workers_that_operators_know() -> None:
    fleet = {spec.name: spec.family for spec in settings.read().worker_plan}
    assert fleet == {
        "l1": "launcher",
        "l2": "launcher",
        "p1": "provisioner",
        "p2": "provisioner",
        "q1": "pbs",
        "rain": "rain",
        "rack": "rack",
    }


def test_a_family_that_is_left_out_has_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_WORKERS", "rack=3, rain=1")
    assert settings.read().worker_plan == (
        WorkerSpec("rain", "rain"),
        WorkerSpec("rack", "rack"),
        WorkerSpec("rack2", "rack"),
        WorkerSpec("rack3", "rack"),
    )


def test_one_number_is_for_all_families_and_a_named_one_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_THREADS", "6 rack=4")
    found = settings.read()
    assert {family: found.threads_for(family) for family in FAMILIES} == dict.fromkeys(FAMILIES, 6) | {"rack": 4}


def test_a_number_for_one_family_leaves_the_others_at_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.read()
    monkeypatch.setenv("CLOUDMESH_TIME_LIMITS", "rack=42")
    after = settings.read()
    assert after.time_limit_for("rack") == 42
    others = [family for family in FAMILIES if family != "rack"]
    assert [after.time_limit_for(f) for f in others] == [before.time_limit_for(f) for f in others]


def test_every_time_limit_is_below_what_rabbitmq_allows_by_default() -> None:
    assert max(settings.read().time_limit_for(family) for family in FAMILIES) < 1800


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(variable(name), "")
    assert settings.read() == Settings.model_validate({})


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("CLOUDMESH_LOG_DIR", "a/../b")
    monkeypatch.setenv("CLOUDMESH_SITE", "~/site.yaml")
    found = settings.read()
    assert (found.log_dir, found.site) == (tmp_path / "b", Path("/home/alice/site.yaml"))
    assert found.state_dir == tmp_path / "b" / "state"


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("web_port", "abc", "integer"),
        ("web_port", "0", "greater than or equal to 1"),
        ("web_port", "65536", "65535"),
        ("web_port", "5000.5", "integer"),
        ("quorum_queues", "perhaps", "boolean"),
        ("grace", "-1", "greater than or equal to 0"),
        ("grace", "nan", "finite"),
        ("bmc_deadline", "0", "greater than 0"),
        ("fanout", "0", "1"),
        ("workers", "rak=2", "launcher, provisioner, pbs, rain, rack"),
        ("workers", "2", "needs a family"),
        ("workers", "rack=1 rack=2", "twice"),
        ("workers", "rack=-1", "family=number"),
        ("workers", "rack=1000", "99"),
        ("threads", "8 rack=0", "less than 1"),
        ("threads", "8 9", "twice"),
        ("threads", "many", "family=number"),
        ("log_level", "loud", "DEBUG"),
        ("log_max_bytes", "12 parsecs", "unit"),
        ("broker_url", "redsi://h", "redis://"),
        ("broker_url", "redis:///0", "host"),
        ("broker_url", "redis://h:port", "URL"),
        ("broker_url", "localhost:6379", "redis://"),
        ("store_url", "mysql://h/d", "postgresql://"),
        ("store_url", "sqlite:///relative.db", "absolute"),
        ("store_url", "sqlite://", "absolute"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: str
) -> None:
    sentence = refusal(monkeypatch, **{name: value})
    assert sentence.startswith(f"{variable(name)} is ")
    assert part in sentence
    assert "\n" not in sentence


def test_two_wrong_values_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = refusal(monkeypatch, web_port="abc", log_level="loud")
    assert "CLOUDMESH_WEB_PORT" in sentence
    assert "CLOUDMESH_LOG_LEVEL" in sentence


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("s3cret/@word\n")
    return file


def test_a_password_file_completes_the_url(monkeypatch: pytest.MonkeyPatch, password_file: Path) -> None:
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "amqp://cloudmesh@rabbit:5672/%2f")
    monkeypatch.setenv("CLOUDMESH_BROKER_PASSWORD_FILE", str(password_file))
    monkeypatch.setenv("CLOUDMESH_STORE_URL", "postgresql://db/cloudmesh")
    monkeypatch.setenv("CLOUDMESH_STORE_PASSWORD_FILE", str(password_file))
    found = settings.read()
    assert found.resolved_broker_url == "amqp://cloudmesh:s3cret%2F%40word@rabbit:5672/%2f"
    assert found.resolved_store_url == "postgresql://:s3cret%2F%40word@db/cloudmesh"
    assert "s3cret/@word" in known_values()


def test_a_password_comes_before_the_host_and_not_into_a_sockets_path(
    monkeypatch: pytest.MonkeyPatch, password_file: Path
) -> None:
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "unix:///run/a@b.sock?db=2")
    monkeypatch.setenv("CLOUDMESH_BROKER_PASSWORD_FILE", str(password_file))
    assert settings.read().resolved_broker_url == "unix://:s3cret%2F%40word@/run/a@b.sock?db=2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_password_file_that_others_may_open_is_refused(
    monkeypatch: pytest.MonkeyPatch, password_file: Path, mode: int
) -> None:
    password_file.chmod(mode)
    monkeypatch.setenv("CLOUDMESH_BROKER_URL", "redis://h")
    monkeypatch.setenv("CLOUDMESH_BROKER_PASSWORD_FILE", str(password_file))
    with pytest.raises(SettingsError, match=f"CLOUDMESH_BROKER_PASSWORD_FILE: {password_file} is open to others"):
        _ = settings.read().resolved_broker_url


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"broker_password_file": "/x"}, "CLOUDMESH_BROKER_URL is not"),
        ({"broker_url": "redis://u:p@h", "broker_password_file": "/x"}, "keep one"),
        ({"store_url": "sqlite:////x.db", "store_password_file": "/x"}, "no use for a password"),
    ],
)
def test_a_password_file_that_does_not_fit_the_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], part: str
) -> None:
    assert part in refusal(monkeypatch, **values)


@pytest.mark.parametrize("name", ["broker_url", "store_url"])
def test_a_password_in_a_url_shows_nowhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(variable(name), {"broker_url": "redis", "store_url": "postgresql"}[name] + "://u:hunter22@h/0")
    found = settings.read()
    assert "hunter22" not in repr(found) + str(found)
    assert "u:***@h/0" in repr(found)
    assert "hunter22" in known_values()


@pytest.mark.parametrize("url", ["redsi://u:hunter22@h", "redis://u:[hunter22]@h", "redis://u:hun/ter22@h:x"])
def test_a_password_in_a_wrong_url_does_not_show_in_the_error(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert "ter22" not in refusal(monkeypatch, broker_url=url)


def test_the_sockets_directory_is_short_private_and_one_for_each_spelling_of_the_state_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / ("long" * 40)
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("CLOUDMESH_RUNTIME_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(state))
    found = settings.read()
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "link"))
    assert settings.read().runtime_dir == found.runtime_dir
    monkeypatch.setenv("CLOUDMESH_STATE_DIR", str(tmp_path / "other"))
    assert settings.read().runtime_dir != found.runtime_dir
    assert len(found.runtime_dir.name) < 40
    made = found.make_runtime_dir()
    assert found.make_runtime_dir() == made
    assert made.stat().st_mode & 0o777 == 0o700
    assert found.resolved_broker_url == f"unix://{made}/valkey.sock"


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_sockets_directory_that_is_not_private_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trap: str
) -> None:
    monkeypatch.setenv("CLOUDMESH_RUNTIME_ROOT", str(tmp_path))
    found = settings.read()
    if trap == "open":
        found.runtime_dir.mkdir()
        found.runtime_dir.chmod(0o755)
    elif trap == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        found.runtime_dir.symlink_to(tmp_path / "elsewhere")
    else:
        found.runtime_dir.touch()
    with pytest.raises(SettingsError, match="directory for sockets"):
        found.make_runtime_dir()


def test_settings_are_read_once_until_they_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.current()
    monkeypatch.setenv("CLOUDMESH_WEB_PORT", "5001")
    assert settings.current() is before
    settings.reset()
    assert settings.current().web_port == 5001


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.read().web_port = 1  # type: ignore[misc]


def test_a_variable_that_is_nearly_a_setting_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDMESH_BROKER_ULR", "redis://h")
    monkeypatch.setenv("CLOUDMESH_BMC_PASSWORD", "x")
    assert settings.misspelt() == ("CLOUDMESH_BROKER_ULR is no setting; did you mean CLOUDMESH_BROKER_URL?",)


def documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(CLOUDMESH_\w+)` \| (.+?) \| (.+) \|$", DOCUMENTATION.read_text(), re.M)
    return {name: (default, meaning) for name, default, meaning in rows}


def coded() -> dict[str, tuple[str, str]]:
    return {
        variable(name): (shown_default(name, field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    }


def shown_default(name: str, value: object) -> str:
    if name == "state_dir":
        return "`LOG_DIR/state`"
    if value in (None, ""):
        return "-"
    return (
        f"`{str(value).lower() if isinstance(value, bool) else format(value, 'g' if isinstance(value, float) else '')}`"
    )


def test_the_documentation_has_every_setting_with_its_default_and_meaning_and_no_other() -> None:
    assert documented() == coded()


def test_the_make_variables_of_the_documentation_stand_for_settings() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `(CLOUDMESH_\w+)` \|$", DOCUMENTATION.read_text(), re.M))
    assert set(rows) == {
        "SITE", "LOG_DIR", "STATE_DIR", "BROKER_URL", "STORE_URL", "WEB_HOST", "WEB_PORT", "WEB_TOKEN_FILE",
        "WEB_ALLOWED_HOSTS", "WEB_READ_ONLY",
    }  # fmt: skip
    assert set(rows.values()) <= set(coded())
    assert all(setting == f"CLOUDMESH_{name}" for name, setting in rows.items())


def test_the_families_can_be_named_without_importing_pydantic() -> None:
    code = "import sys, cloudmesh_actors.families; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


def test_a_default_that_is_derived_from_a_wrong_setting_is_not_said_to_be_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentence = refusal(monkeypatch, log_level="LOUD")

    assert sentence.startswith("CLOUDMESH_LOG_LEVEL")
    assert "CLOUDMESH_STATE_DIR" not in sentence
