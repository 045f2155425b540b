"""Secrets do not reach a log: struck out by key, by value, and by what surely is one (a URL's password).

By value means what `cloudmesh_actors.secret` was told to remember: plain, and as URL quoting, ``repr``, JSON,
Base64 or hexadecimal spell it. A rendered line is first searched as bytes, which is fast; only a line under
suspicion is taken apart.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from cloudmesh_actors import secret
from cloudmesh_actors.secret import MASK

#: A key that holds one of these names a secret ...
_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "private_key",
    "api_key",
    "access_key",
    "privatekey",
    "apikey",
    "accesskey",
    "authorization",
    "credential",
)
#: ... or ends with one of these (in the singular) ...
_ENDINGS = ("token", "pwd", "cookie", "auth_key", "session_key")
#: ... unless it ends so: then it is only about a secret.
_HARMLESS = ("_file", "_path", "_env", "_id", "_name", "_type", "_changed", "_count", "_length", "_set")

#: Keys that our own code fills. A short secret may occur in an id by chance, and the id must stay whole.
OWN_KEYS = frozenset({"timestamp", "level", "worker", "queue", "actor", "job_id", "run", "logger", "stream"})

#: Deeper containers are not shown, which ends cycles too.
DEEPEST = 16

#: So many hints are looked for one by one; more of them by their first four bytes.
_FEW = 80
_GRAM = 4

#: Lines of a secret of several lines that are this long are struck out one by one, as prints write them.
_LONG_LINE = 8

_CONTAINERS = (Mapping, list, tuple, set, frozenset)

_URL_PASSWORD = re.compile(r"""(://[^\s/:@"'<>]*:)(?!\d{1,5}(?:[/?#\s"'\\]|$))[^\s"'<>]*@""")
_ASSIGNED = re.compile(
    r"""((?:passw(?:or)?d|passphrase|secret|(?:private|api|access)[_ -]?key|authorization|credential|token)s?"""
    r"""(?:["']\s*:|\s*=|\s*:(?=\s*(?:["']|basic\s|bearer\s|\S+\s*$)))\s*(?:b(?=["']))?)"""
    r"""(?!None\b|null\b|["']?\*\*\*)"""
    r"""("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|(?:(?:basic|bearer)\s+)?[^\s,;&}\])]+)""",
    re.IGNORECASE | re.MULTILINE,
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KEY_HINTS = ("_key", "-key", " key", "apikey", "accesskey", "privatekey")

_SCALARS = frozenset({str, int, float, bool, type(None)})

#: What no spelling changes.
_UNTOUCHED = re.compile(r"[A-Za-z0-9_.-]+")

#: Control characters have letters in ``repr`` and JSON, and a space is a plus in a query.
_LETTERS = {"\n": r"\\+n", "\r": r"\\+r", "\t": r"\\+t", "\b": r"\\+b", "\f": r"\\+f", " ": r"\+"}

#: A character may be spelt by so many.
_GROWTH = 12

_named: dict[object, bool] = {}


def register(value: str) -> None:
    """Have `value` struck out wherever it turns up. One of less than four characters is only hidden by its key."""
    secret.remember(value)


def names_secret(key: object) -> bool:
    """Whether what is stored under `key` is a secret, to judge by the name."""
    verdict = _named.get(key)
    if verdict is None:
        verdict = isinstance(key, str) and _judge(key)
        if len(_named) < 10_000:
            _named[key] = verdict
    return verdict


def by_key(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with those masked whose key names a secret, in nested mappings and lists too."""
    for key, value in fields.items():
        if _named.get(key, True) or type(value) not in _SCALARS:
            return {key: _masked(key, value, DEEPEST) for key, value in fields.items()}
    return fields


def suspicious(line: bytes) -> bool:
    """Whether a rendered line may hold a secret. A false alarm costs little, a miss a lot."""
    words = line.decode()
    if "://" in words and "@" in words:
        return True
    return _hints_at_secret(words.lower()) or _known().occur_in(words)


def _hints_at_secret(words: str) -> bool:
    return (
        "passw" in words
        or "passphrase" in words
        or "secret" in words
        or "token" in words
        or "authorization" in words
        or "credential" in words
        or ("key" in words and any(hint in words for hint in _KEY_HINTS))
    )


def by_value(fields: dict[str, Any]) -> dict[str, Any]:
    """An event of plain JSON values with all secrets struck out of its texts and keys; our own keys stay."""
    return {text(key): value if key in OWN_KEYS else _struck(value) for key, value in fields.items()}


def text(words: str) -> str:
    """`words` with each known secret, password in a URL, ``password=...`` and private key struck out."""
    words = _known().strike(words)
    if "://" in words:
        words = _URL_PASSWORD.sub(rf"\g<1>{MASK}@", words)
    if "PRIVATE KEY" in words:
        words = _KEY_BLOCK.sub(MASK, words)
    return _ASSIGNED.sub(_assigned, words) if _hints_at_secret(words.lower()) else words


def safe_cut(words: str, at: int) -> int:
    """The last place up to `at` where `words` may be cut without cutting a known secret in two."""
    window = max(0, at - longest())
    for found in _known().matches(words[window : at + longest()]):
        if found.start() < at - window < found.end():
            at = window + found.start()
    return at


def longest() -> int:
    """How long a known secret may get by being spelt in another way."""
    return _known().longest


def _judge(key: str) -> bool:
    name = re.sub(r"[\s.-]", "_", key.lower())
    if name.endswith(_HARMLESS):
        return False
    return any(word in name for word in _WORDS) or name.removesuffix("s").endswith(_ENDINGS)


def _masked(key: object, value: Any, depth: int) -> Any:
    if names_secret(key) and value is not None and not isinstance(value, bool):
        return MASK
    if not isinstance(value, _CONTAINERS):
        return value
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        return {name: _masked(name, item, depth - 1) for name, item in value.items()}
    return [_masked(None, item, depth - 1) for item in value]


def _struck(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(name): _struck(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_struck(item) for item in value]
    shown = str(value)
    return value if text(shown) == shown else MASK


def _assigned(match: re.Match[str]) -> str:
    mark = match[2][0] if match[2][0] in "\"'" else ""
    return f"{match[1]}{mark}{MASK}{mark}"


def pattern(value: str) -> str:
    """A regular expression for `value` as text, ``repr``, JSON and URL quoting spell it, in any nesting of them."""
    raw = _bytes(value)
    return "|".join(("".join(map(_character, value)), raw.hex(), re.escape(base64.b64encode(raw).decode())))


def _character(char: str) -> str:
    if _UNTOUCHED.fullmatch(char):
        return re.escape(char)
    code = ord(char)
    quoted = "".join(f"%{byte:02x}" for byte in _bytes(char))
    escaped = f"x{code:02x}|u{code:04x}|U{code:08x}|" + "".join(f"\\\\*x{byte:02x}" for byte in _bytes(char))
    letter = _LETTERS.get(char)
    spelt = [rf"\\*{re.escape(char)}", f"(?i:{quoted})", rf"\\+(?i:{escaped})"]
    return f"(?:{'|'.join([*spelt, *([letter] if letter else [])])})"


class _Known:
    """The known secrets, and how to find many of them at once.

    Each has hints, parts that no spelling changes; only where one of these occurs its pattern is tried. Many hints
    are looked for together, by their first four bytes.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        lines = {line for value in values for line in value.splitlines() if len(line) >= _LONG_LINE}
        every = {*values, *lines}
        self.longest = max((_GROWTH * len(value) for value in every), default=0)
        self._hinted: dict[str, list[str]] = defaultdict(list)
        for value in every:
            for hint in _hints(value):
                self._hinted[hint].append(value)
        self._everywhere = self._hinted.pop("", [])
        self._by_gram: dict[int, list[str]] = defaultdict(list)
        for hint in self._hinted if len(self._hinted) > _FEW else ():
            self._by_gram[next(_grams(_bytes(hint)[:_GRAM]))[0]].append(hint)

    def occur_in(self, words: str) -> bool:
        """Whether one of them seems to be in `words`."""
        return any(hint in words for hint in self._candidates(words)) or any(
            _compiled(value).search(words) for value in self._everywhere
        )

    def strike(self, words: str) -> str:
        """`words` without them; the longest go first, since one may begin another."""
        for value in self._suspects(words):
            words = _compiled(value).sub(MASK, words)
        return words

    def matches(self, words: str) -> Iterator[re.Match[str]]:
        """Where they are in `words`."""
        return (found for value in self._suspects(words) for found in _compiled(value).finditer(words))

    def _suspects(self, words: str) -> list[str]:
        hints = [hint for hint in self._candidates(words) if hint in words]
        values = {*self._everywhere, *(value for hint in hints for value in self._hinted[hint])}
        return sorted(values, key=len, reverse=True)

    def _candidates(self, words: str) -> Iterable[str]:
        if not self._by_gram:
            return self._hinted
        known = self._by_gram.keys()
        found = set().union(*(known & set(grams) for grams in _grams(_bytes(words)) if not known.isdisjoint(grams)))
        return [hint for gram in found for hint in self._by_gram[gram]]


def _hints(value: str) -> tuple[str, ...]:
    """Strings of which one is in every spelling of `value`; "" when there is none."""
    core = max(_UNTOUCHED.findall(value), key=len, default="")
    if len(core) < _GRAM:
        return ("",)
    raw = _bytes(value)
    return core, raw.hex(), base64.b64encode(raw).decode()


@lru_cache(maxsize=4096)
def _compiled(value: str) -> re.Pattern[str]:
    return re.compile(pattern(value))


def _bytes(words: str) -> bytes:
    return words.encode(errors="surrogatepass")


def _grams(data: bytes) -> Iterator[memoryview]:
    """The data as integers of four bytes, from each of the four places where one can begin."""
    view = memoryview(data)
    for start in range(_GRAM):
        end = start + (len(data) - start) // _GRAM * _GRAM
        if end > start:
            yield view[start:end].cast("I")


def _known() -> _Known:
    return _known_at(secret.generation())


@lru_cache(maxsize=1)
def _known_at(_generation: int) -> _Known:
    return _Known(secret.known_values())
