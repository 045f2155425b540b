"""The URLs of the broker and the store: which are possible, and how a password comes into one."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from cloudmesh_actors.secret import Secret

BROKER_SCHEMES = ("redis", "rediss", "unix", "amqp", "amqps", "stub")
NETWORK_SCHEMES = ("redis", "rediss", "amqp", "amqps")
PASSWORDLESS_SCHEMES = ("stub", "sqlite")
STORE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")


def check(url: str, schemes: tuple[str, ...]) -> None:
    """Raise ValueError with a sentence that holds nothing of the URL, which may have a password in it."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("it is no URL; in a password, special characters are written as %XX") from None
    if parts.scheme not in schemes or not url.startswith(f"{parts.scheme}://"):
        raise ValueError(f"it should begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.scheme in NETWORK_SCHEMES and not host:
        raise ValueError("it names no host")
    if parts.scheme == "sqlite" and not (parts.path.startswith("//") and parts.path.strip("/")):
        raise ValueError("SQLite's file is an absolute path, as in sqlite:////var/lib/cloudmesh/store.db")


def has_password(url: str) -> bool:
    """Whether a URL that has been checked holds a password."""
    return bool(urlsplit(url).password)


def takes_no_password(url: str) -> bool:
    """Whether nobody asks for a password there."""
    return urlsplit(url).scheme in PASSWORDLESS_SCHEMES


def with_password(url: str, password: Secret) -> str:
    """The URL with a password in it, escaped."""
    place = urlsplit(url).netloc
    user, at, host = place.rpartition("@")
    credentials = f"{user if at else ''}:{quote(password.reveal(), safe='')}"
    return url.replace(f"://{place}", f"://{credentials}@{host}", 1)
