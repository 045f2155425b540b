"""Reading fields of the site file: each is checked, and each mistake is noted with its line and key."""

from __future__ import annotations

import ipaddress
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar, get_args

from cloudmesh_actors import nodes, secret
from cloudmesh_actors.errors import NodeSetError, UnknownNode
from cloudmesh_actors.secret import Secret
from cloudmesh_actors.site.document import Listing, Scalar, Table, Value
from cloudmesh_actors.site.model import DEFAULT_KNOWN_HOSTS
from cloudmesh_actors.site.report import Report

T = TypeVar("T", bound=str)
D = TypeVar("D", float, None)

#: What a cluster, a rack, a server, a queue or an image may be called.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_JUMP = re.compile(r"([A-Za-z0-9_.-]+@)?(?P<host>[^@:]+)(:(?P<port>[0-9]{1,5}))?")
_DIGITS = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")

HOW_TO_WRITE_PASSWORDS = "write {env: NAME} or {file: PATH}, never the password itself"


class Fields:
    """The fields of one mapping in the file. A wrong field is reported, and read as its default."""

    def __init__(
        self, value: Value | None, path: str, line: int, report: Report, known: Collection[str] | None
    ) -> None:
        self.path, self.line, self.report = path, line, report
        self._table = Table(line)
        self._errors_before = len(report.errors)
        self._is_mapping = value is None or isinstance(value, Table) or (isinstance(value, Scalar) and value.is_null)
        if isinstance(value, Table):
            self._table = value
        elif not self._is_mapping:
            report.add("has to be a mapping, as in {key: value}", line, path)
        if known is not None:
            self._refuse_unknown(known)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was wrong since this mapping was begun."""
        return len(self.report.errors) == self._errors_before

    def __contains__(self, key: str) -> bool:
        value = self._table.values.get(key)
        return value is not None and not (isinstance(value, Scalar) and value.is_null)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.values)

    def key(self, name: str) -> str:
        """The whole key of a field: ``racks.r1.units``."""
        return f"{self.path}.{name}" if self.path else name

    def line_of(self, name: str) -> int:
        """The line of a field, or of the mapping that lacks it."""
        return self._table.lines.get(name, self.line)

    def fail(self, name: str, message: str) -> None:
        """Note that a field is wrong."""
        self.report.add(message, self.line_of(name), self.key(name))

    def require(self, *names: str) -> None:
        """Note which of these fields are missing or empty."""
        for name in names if self._is_mapping else ():
            value = self._table.values.get(name)
            if name not in self or (isinstance(value, Scalar) and not value.text):
                self.fail(name, "is missing")

    def table(self, name: str, known: Collection[str] | None = None) -> Fields:
        """The mapping under a key; an empty one if there is none."""
        return Fields(self._table.values.get(name), self.key(name), self.line_of(name), self.report, known)

    def text(self, name: str, default: str = "") -> str:
        """A text, as it is written."""
        value = self._table.values.get(name)
        if name not in self:
            return default
        if not isinstance(value, Scalar):
            self.fail(name, "has to be a single text")
            return default
        if not value.text.isprintable():
            self.fail(name, "holds control characters or several lines")
            return default
        return value.text

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of names."""
        value = self._table.values.get(name)
        if name not in self:
            return ()
        if not isinstance(value, Listing) or not all(isinstance(item, Scalar) for item in value.items):
            self.fail(name, "has to be a list of names, as in [batch, long]")
            return ()
        names = tuple(item.text for item in value.items if isinstance(item, Scalar))
        for item, times in Counter(names).items():
            if times > 1:
                self.fail(name, f"{item!r} is given {'twice' if times == 2 else f'{times} times'}")
        return tuple(filter(lambda item: self._is_name(name, item), names))

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`, in decimal digits."""
        text = self.text(name)
        if not text:
            return default
        if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
            self.fail(name, f"{text!r} is not a whole number from {low} to {high}")
            return default
        return int(text)

    def seconds(self, name: str, default: D, *, zero: bool = False) -> float | D:
        """A number of seconds above 0, or from 0 on, up to a day."""
        text = self.text(name)
        if not text:
            return default
        if not _NUMBER.fullmatch(text) or not 0 <= float(text) <= 86_400 or (float(text) == 0 and not zero):
            self.fail(name, f"{text!r} is not a number of seconds {'from' if zero else 'above'} 0, up to 86400")
            return default
        return float(text)

    def choice(self, name: str, kind: object, default: T) -> T:
        """One of the values of a Literal type."""
        text = self.text(name, default)
        return self.one_of(name, text, kind, default)

    def one_of(self, name: str, text: str, kind: object, default: T) -> T:
        """The value of a Literal type that `text` is."""
        choices: tuple[T, ...] = get_args(kind)
        for choice in choices:
            if choice == text:
                return choice
        self.fail(name, f"{text!r} is not one of {', '.join(choices)}{nodes.near_miss(text, choices)}")
        return default

    def reference(self, name: str, known: Collection[str], what: str) -> str | None:
        """The name of something that another section has."""
        text = self.text(name)
        if text and text not in known:
            self.fail(name, f"there is no {what} {text!r}{nodes.near_miss(text, known)}")
            return None
        return text or None

    def file(self, name: str) -> Path | None:
        """A path; a relative one is beside the site file."""
        text = self.text(name)
        return self.report.resolve(text) if text else None

    def directory(self, name: str) -> Path | None:
        """A directory that exists; a relative one is beside the site file."""
        path = self.file(name)
        if path and not path.is_dir():
            self.fail(name, f"{path} is not a directory")
            return None
        return path

    def node_set(self, name: str) -> tuple[str, ...]:
        """The names of the set that a field holds."""
        text = self.text(name)
        return self._expanded(name, text, nodes.expand) if text else ()

    def key_set(self, name: str, *, ordered: bool = False) -> tuple[str, ...]:
        """The names of the set that a key is; `ordered` asks for a single name or one ascending range."""
        return self._expanded(name, name, nodes.expand_ordered if ordered else nodes.expand)

    def address(self, name: str) -> str:
        """A host's name or address."""
        text = self.text(name)
        if text and not is_address(text):
            self.fail(name, f"{text!r} is neither an address nor a host's name")
            return ""
        return text

    def jump(self, name: str) -> str | None:
        """A host to go through: ``[user@]host[:port]``."""
        text = self.text(name)
        match = _JUMP.fullmatch(text)
        if text and not (match and is_address(match["host"]) and 0 < int(match["port"] or 22) <= 65_535):
            self.fail(name, f"{text!r} is not of the form user@host:port")
            return None
        return text or None

    def known_hosts(self, name: str) -> Path:
        """The file with the host keys that are trusted."""
        return self.file(name) or DEFAULT_KNOWN_HOSTS

    def paired_addresses(self, name: str, count: int) -> tuple[str, ...]:
        """One address for each of `count` nodes, in their order."""
        text = self.text(name)
        addresses = self._expanded(name, text, nodes.expand_ordered) if text else ()
        if count and addresses and len(addresses) != count:
            self.fail(
                name, f"{_counted(len(addresses), 'address', 'es')} and {_counted(count, 'node', 's')} are no pairs"
            )
        wrong = [address for address in addresses if not is_address(address)]
        if wrong:
            self.fail(name, f"{wrong[0]!r} is neither an address nor a host's name")
        return () if wrong or len(addresses) != count else addresses

    def password(self, name: str) -> Secret:
        """The password that ``{env: NAME}`` or ``{file: PATH}`` refers to."""
        if name not in self:
            return Secret("")
        if not isinstance(self._table.values[name], Table):
            self.fail(name, HOW_TO_WRITE_PASSWORDS)
            return Secret("")
        return self.table(name, ("env", "file")).secret()

    def secret(self) -> Secret:
        """The password that this mapping refers to."""
        variable, file = self.text("env"), self.file("file")
        if bool(variable) == bool(file):
            self.report.add(HOW_TO_WRITE_PASSWORDS, self.line, self.path)
        elif file:
            return self._secret_file(file)
        elif not os.environ.get(variable):
            self.fail("env", f"the environment variable {variable} is not set")
        else:
            return Secret(os.environ[variable])
        return Secret("")

    def _secret_file(self, file: Path) -> Secret:
        try:
            found = secret.read_file(file)
        except ValueError as error:
            self.fail("file", str(error))
            return Secret("")
        self.report.secret_files.add(file)
        return found

    def _expanded(self, name: str, text: str, read: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
        """What a set stands for; `text` is the field's value, or the very key."""
        purpose = self.path.rpartition(".")[2] if text == name else name
        try:
            self.report.spend((self.path.partition(".")[0], purpose), nodes.at_most(text))
            return read(text)
        except (NodeSetError, UnknownNode) as error:
            self.fail(name, str(error))
            return ()

    def _is_name(self, field: str, text: str) -> bool:
        if _NAME.fullmatch(text):
            return True
        self.fail(field, f"{text!r} is not a name: letters, digits, '_', '.' and '-'")
        return False

    def check_own_name(self) -> None:
        """Note if the last part of this mapping's key is no name."""
        name = self.path.partition(".")[2]
        if not _NAME.fullmatch(name):
            self.report.add("is not a name: letters, digits, '_', '.' and '-'", self.line, self.path)

    def _refuse_unknown(self, known: Collection[str]) -> None:
        for name in self._table.values:
            if name not in known:
                hint = nodes.near_miss(name, known) or f"; the keys here are {', '.join(known)}"
                self.fail(name, f"is not a known key{hint}")


def is_address(text: str) -> bool:
    """Whether this is an IP address or can be a host's name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        last = text.rstrip(".").rpartition(".")[2]
        return bool(_HOST.fullmatch(text)) and not last.isdigit()
    return True


def _counted(count: int, what: str, plural: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}{plural}"
