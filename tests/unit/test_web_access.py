"""The rules of the console's door, and words as pages write them."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudmesh_actors import settings
from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.web import access, words
from cloudmesh_actors.web.access import Rules

HOST = "127.0.0.1:5000"


def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: object) -> Rules:
    for name, value in {"STATE_DIR": tmp_path, **values}.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", str(value))
    return Rules.of(settings.read())


def token_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "head.example.org"])
def test_an_address_that_others_reach_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(SettingsError, match="where others can reach the console: set CLOUDMESH_WEB_TOKEN_FILE"):
        rules(tmp_path, monkeypatch, WEB_HOST=host)

    assert rules(tmp_path, monkeypatch, WEB_HOST=host, WEB_TOKEN_FILE=token_file(tmp_path, "x" * 16)).token


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert rules(tmp_path, monkeypatch, WEB_HOST=host).token is None


def test_a_short_token_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="has less than 16 characters"):
        rules(tmp_path, monkeypatch, WEB_TOKEN_FILE=token_file(tmp_path, "short"))


def test_a_token_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = token_file(tmp_path, "x" * 20)
    file.chmod(0o644)

    with pytest.raises(SettingsError, match=r"CLOUDMESH_WEB_TOKEN_FILE: .* is open to others"):
        rules(tmp_path, monkeypatch, WEB_TOKEN_FILE=file)


def test_the_key_is_made_once_and_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = rules(tmp_path, monkeypatch), rules(tmp_path, monkeypatch)

    assert first.key == second.key
    assert len(first.key) == access.KEY_BYTES
    assert stat.S_IMODE((tmp_path / "web.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["web.key"]


def test_another_token_shuts_out_who_used_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = rules(tmp_path, monkeypatch, WEB_TOKEN_FILE=token_file(tmp_path, "a" * 20))
    admission = old.admission()
    new = rules(tmp_path, monkeypatch, WEB_TOKEN_FILE=token_file(tmp_path, "b" * 20))

    assert old.admits(admission, "")
    assert not new.admits(admission, "")
    assert new.admits("", f"bearer {'b' * 20}")


def test_a_form_belongs_to_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = rules(tmp_path, monkeypatch)
    session = access.new_session()

    assert access.is_session(session)
    assert it.is_form_token(it.form_token(session), session)
    assert not it.is_form_token(it.form_token(session), access.new_session())
    assert not it.is_form_token(it.form_token(""), "")


@pytest.mark.parametrize(
    ("method", "origin", "site", "mode", "foreign"),
    [
        ("GET", "", "", "", False),
        ("POST", "", "", "", False),
        ("POST", f"http://{HOST}", "same-origin", "cors", False),
        ("POST", f"https://{HOST}", "", "", False),
        ("POST", "http://evil.example.org", "", "", True),
        ("POST", "http://127.0.0.1:8000", "", "", True),
        ("POST", "null", "", "", True),
        ("POST", "", "cross-site", "navigate", True),
        ("POST", "", "none", "navigate", False),
        ("GET", "", "cross-site", "navigate", False),
        ("GET", "null", "cross-site", "navigate", False),
        ("GET", "", "cross-site", "no-cors", True),
        ("GET", "", "same-site", "cors", True),
        ("GET", "http://evil.example.org", "", "cors", True),
        ("DELETE", "", "cross-site", "navigate", True),
    ],
)
def test_another_site_is_told_by_its_headers(method: str, origin: str, site: str, mode: str, foreign: bool) -> None:
    assert access.is_foreign(method, HOST, origin=origin, site=site, mode=mode) is foreign


@pytest.mark.parametrize(
    ("header", "name"),
    [("localhost:5000", "localhost"), ("[::1]:5000", "::1"), ("A.Example.ORG", "a.example.org"), ("a b", ""), ("", ""),
     ("user@localhost", ""), ("localhost/x", ""), ("[::1", "")],
)  # fmt: skip
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert access.hostname(header) == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "\N{EN DASH}"), (-1, "0.0 s"), (0.84, "0.8 s"), (45.9, "45 s"), (725, "12 min 5 s"), (11_220, "3 h 7 min"),
     (1_051_200, "12 d 4 h")],
)  # fmt: skip
def test_durations_are_written_in_two_units(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_what_goes_on_says_since_when() -> None:
    began = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    assert 'data-since="2026-03-01T12:00:00.000Z"' in words.took(began, None)
    assert words.took(began, began + timedelta(seconds=3)) == "3.0 s"


def test_values_are_short_on_pages() -> None:
    assert words.value({"a": 1}) == '{"a": 1}'
    assert words.value("x" * 5000).endswith("(5,000 characters)")
