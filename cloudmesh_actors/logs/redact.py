"""Secrets do not reach a log: struck out by key, by value, and by what surely is one (a URL's password).

By value means what `cloudmesh_actors.secret` was told to remember: plain, and as URL quoting, ``repr``, JSON,
Base64 or hexadecimal spell it. A rendered line is first searched as bytes, which is fast; only a line under
suspicion is taken apart.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

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

#: So many spellings are looked for one by one; more of them by their first four bytes.
_FEW = 80
_GRAM = 4

#: Lines of a secret of several lines that are this long are struck out one by one, as prints write them.
_LONG_LINE = 8

_CONTAINERS = (Mapping, list, tuple, set, frozenset)

_URL_PASSWORD = re.compile(r"""(://[^\s/:@"'<>]*:)(?!\d{1,5}(?:[/?#\s"'\\]|$))[^\s"'<>]*@""")
_ASSIGNED = re.compile(
    r"""((?:passw(?:or)?d|passphrase|secret|(?:private|api|access)[_ -]?key|authorization|credential|token)s?"""
    r"""(?:["']\s*:|\s*=|\s*:(?=\s*(?:["']|basic\s|bearer\s|\S+\s*$)))\s*b?)"""
    r"""(?!None\b|null\b|["']?\*\*\*)"""
    r"""("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|(?:(?:basic|bearer)\s+)?[^\s,;&}\])]+)""",
    re.IGNORECASE | re.MULTILINE,
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KEY_HINTS = ("_key", "-key", " key", "apikey", "accesskey", "privatekey")

_SCALARS = frozenset({str, int, float, bool, type(None)})

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
    return _hints_at_secret(words.lower()) or bool(_known().found_in(words))


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
    for form in _known().forms:
        found = words.find(form, max(0, at - len(form) + 1), at + len(form) - 1)
        if 0 <= found < at:
            at = found
    return at


def longest() -> int:
    """How long the longest spelling of a known secret is."""
    return max(map(len, _known().forms), default=0)


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


def spellings(value: str) -> set[str]:
    """The ways a secret may be spelt in a text."""
    raw = value.encode(errors="surrogatepass")
    forms = {value, quote(raw, safe=""), quote(raw), quote_plus(raw), raw.hex(), base64.b64encode(raw).decode()}
    forms |= {line for line in value.splitlines() if len(line) >= _LONG_LINE}
    forms |= {form.lower() for form in forms if "%" in form}
    forms.add(repr(raw)[2:-1])
    for _ in range(2):
        forms |= {escape(form)[1:-1] for form in forms for escape in (repr, ascii, json.dumps, _json)}
    return {form for form in forms if len(form) >= secret.SHORTEST_REDACTED}


def _json(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


class _Known:
    """All spellings of the known secrets, and how to find many of them at once."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.forms = frozenset(form for value in values for form in spellings(value))
        self._by_gram: dict[int, list[str]] = defaultdict(list)
        for form in self.forms if len(self.forms) > _FEW else ():
            self._by_gram[next(_grams(_bytes(form)[:_GRAM]))[0]].append(form)

    def found_in(self, words: str) -> list[str]:
        """The spellings that occur in `words`."""
        return [form for form in self._candidates(words) if form in words]

    def strike(self, words: str) -> str:
        """`words` without them; the longest go first, since one may begin another."""
        for form in sorted(self.found_in(words), key=len, reverse=True):
            words = words.replace(form, MASK)
        return words

    def _candidates(self, words: str) -> Iterable[str]:
        if not self._by_gram:
            return self.forms
        known = self._by_gram.keys()
        found = set().union(*(known & set(grams) for grams in _grams(_bytes(words)) if not known.isdisjoint(grams)))
        return [form for gram in found for form in self._by_gram[gram]]


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
    return _compiled(secret.generation())


@lru_cache(maxsize=1)
def _compiled(_generation: int) -> _Known:
    return _Known(secret.known_values())
