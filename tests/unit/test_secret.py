from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmesh_actors.secret import Secret, known_values, mask_url, read_file, remember_url


def test_a_secret_shows_only_when_it_is_revealed() -> None:
    secret = Secret("hunter22")
    assert "hunter22" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter22"


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="clear"):
        pickle.dumps(Secret("hunter22"))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("hunter22"))


def test_secrets_are_equal_when_their_values_are() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_log_learns_of_secrets_but_not_of_very_short_ones() -> None:
    Secret("hunter22")
    Secret("abc")
    assert known_values() == {"hunter22"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("content", ["hunter22", "hunter22\n", "hunter22\r\n"])
def test_a_password_file_is_one_line(file: Path, content: str) -> None:
    file.write_bytes(content.encode())
    assert read_file(file).reveal() == "hunter22"


def test_blanks_belong_to_a_password(file: Path) -> None:
    file.write_text(" hunter 22 \n")
    assert read_file(file).reveal() == " hunter 22 "


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"one\ntwo\n", "more than one line"),
        (b"a\0b", "control characters"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 5000, "longer than 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_password_is_refused(file: Path, content: bytes, part: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=part) as caught:
        read_file(file)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_others_may_open_is_refused(file: Path) -> None:
    file.write_text("hunter22")
    file.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 0600"):
        read_file(file)
    assert not known_values()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    file.write_text("hunter22")
    os.chown(file, 12345, 12345)
    with pytest.raises(ValueError, match="belongs to another user"):
        read_file(file)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ValueError, match="not a regular file"):
        read_file(tmp_path / "pipe")
    with pytest.raises(ValueError, match="No such file"):
        read_file(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:hunter22@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://u:hunter22@h//vhost", "amqp://u:***@h//vhost"),
        ("amqp://u@h", "amqp://u@h"),
        ("amqp://u:hunter/22@h", "amqp://u:***@h"),
        ("amqp://u:hunter@22@h", "amqp://u:***@h"),
        ("unix:///run/x.sock?db=1&password=hunter22", "unix:///run/x.sock?db=1&password=***"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("postgresql://h/d?sslpassword=hunter22&x=1", "postgresql://h/d?sslpassword=***&x=1"),
        ("sqlite:////var/lib/store.db", "sqlite:////var/lib/store.db"),
        ("u:hunter22@h", "***"),
        ("", ""),
    ],
)
def test_a_masked_url_keeps_everything_but_the_password(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@given(password=st.text(min_size=1).map(lambda text: f"<{text}>"))
def test_no_password_survives_masking(password: str) -> None:
    assert password not in mask_url(f"redis://user:{password}@host:6379/0")


def test_a_password_in_a_url_is_known_to_the_log_escaped_and_plain() -> None:
    remember_url("amqp://u:hun%2Fter22@h")
    assert known_values() == {"hun%2Fter22", "hun/ter22"}
