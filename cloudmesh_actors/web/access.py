"""The rules of the console's door: which names it answers to, who may come in, and who may change something."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cloudmesh_actors import secret
from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.settings import Settings, variable

#: A token that others can try to guess has at least so many characters.
SHORTEST_TOKEN = 16

#: Names of this machine that only programs on it can use.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: Addresses that mean every address of the machine.
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

KEY_BYTES = 32

_SESSION = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about access.

    `key` signs cookies and forms; `hosts` are the names that a request may be addressed to; `suffix` tells apart the
    cookies of consoles on several ports of one host, since browsers do not.
    """

    key: bytes
    hosts: frozenset[str]
    token: Secret | None = None
    read_only: bool = False
    suffix: str = ""

    @classmethod
    def of(cls, config: Settings) -> Rules:
        """The rules of these settings.

        Raises:
            SettingsError: others could reach the console, and there is no token; or its file is not as it should be.
        """
        token = _token(config)
        if token is None and not is_loopback(config.web_host):
            raise SettingsError(
                f"{variable('web_host')} is {config.web_host!r}, where others can reach the console: "
                f"set {variable('web_token_file')} to a file with a token of at least {SHORTEST_TOKEN} characters."
            )
        return cls(_key(config.state_dir / "web.key"), _hosts(config), token, config.web_read_only,
                   str(config.web_port))  # fmt: skip

    # -- who may come in

    def answers_to(self, host: str) -> bool:
        """Whether the Host header of a request names this console: another name may be a trap for browsers."""
        return hostname(host) in self.hosts

    def is_token(self, word: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and hmac.compare_digest(word.encode(), self.token.reveal().encode())

    def admission(self) -> str:
        """What the cookie of somebody who knows the token holds. Another token, another admission."""
        return self._signed("admission", "" if self.token is None else self.token.reveal())

    def admits(self, cookie: str, authorization: str) -> bool:
        """Whether the cookie, or the header ``Authorization: Bearer TOKEN``, opens the door."""
        if self.token is None or hmac.compare_digest(cookie.encode(), self.admission().encode()):
            return True
        scheme, _, word = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.is_token(word.strip())

    # -- forms

    def form_token(self, session: str) -> str:
        """What a form of this session carries, and no other site can know."""
        return self._signed("form", session)

    def is_form_token(self, word: str, session: str) -> bool:
        """Whether a form was made for this session."""
        return bool(session) and hmac.compare_digest(word.encode(), self.form_token(session).encode())

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that ties forms to a browser."""
        return f"cloudmesh_session_{self.suffix}"

    @property
    def admission_cookie(self) -> str:
        """The name of the cookie of somebody who knows the token."""
        return f"cloudmesh_admission_{self.suffix}"

    def _signed(self, purpose: str, word: str) -> str:
        return hmac.new(self.key, f"{purpose}:{word}".encode(), hashlib.sha256).hexdigest()


def new_session() -> str:
    """The value of a new session cookie."""
    return secrets.token_urlsafe(16)


def is_session(word: str) -> bool:
    """Whether this looks like a value that `new_session` made."""
    return _SESSION.fullmatch(word) is not None


def hostname(host: str) -> str:
    """The name or address in a Host header, without its port; empty when it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if re.fullmatch(r"[\w.:\[\]-]+", host, re.ASCII) else ""
    except ValueError:
        return ""


def is_foreign(method: str, host: str, *, origin: str, site: str, mode: str) -> bool:
    """Whether another site had the browser send this request.

    Args:
        origin: the header Origin, which browsers send with everything that may change something.
        site, mode: the headers Sec-Fetch-Site and Sec-Fetch-Mode (https://www.w3.org/TR/fetch-metadata/).

    Links from elsewhere to a page are no harm; anything else from there is refused. A program that is no browser
    sends none of these headers.
    """
    changes = method not in {"GET", "HEAD", "OPTIONS"}
    if site not in {"", "same-origin", "none"} and (changes or mode != "navigate"):
        return True
    return bool(origin) and (changes or origin != "null") and urlsplit(origin).netloc.lower() != host.lower()


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _hosts(config: Settings) -> frozenset[str]:
    named = re.split(r"[\s,]+", config.web_allowed_hosts.strip().lower())
    own = {socket.gethostname().lower()} if not is_loopback(config.web_host) else set()
    bound = {config.web_host.lower()} - EVERYWHERE
    return frozenset(LOOPBACK | own | bound | set(filter(None, named)))


def _token(config: Settings) -> Secret | None:
    if config.web_token_file is None:
        return None
    name = variable("web_token_file")
    try:
        token = secret.read_file(config.web_token_file)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
    if len(token.reveal()) < SHORTEST_TOKEN:
        raise SettingsError(f"{name}: the token in {config.web_token_file} has less than {SHORTEST_TOKEN} characters")
    return token


def _key(path: Path) -> bytes:
    """The key in a file, which is made when it is missing: sessions and open forms outlive a restart."""
    try:
        return path.read_bytes() if path.exists() else _new_key(path)
    except OSError as error:
        raise SettingsError(f"{path}, the console's key, cannot be used: {error.strerror}") from None


def _new_key(path: Path) -> bytes:
    """Make the file whole or not at all; of two processes that do so at once, the first one's key counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    with suppress(FileExistsError):
        path.hardlink_to(fresh)
    fresh.unlink()
    return path.read_bytes()
