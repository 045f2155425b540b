"""The attributes of batch jobs as the store has them: several jobs together, as their server printed them.

To take all attributes of a hundred thousand jobs apart takes as long as reading the jobs did, and hardly one is ever
looked at: that is done when they are read from the store. A pack is compressed; its first line is JSON with an entry
for each job: the attributes themselves, or `[dialect, length]` of its text among those that follow.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from cloudmesh_actors.pbs.dialects import json as json_dialect
from cloudmesh_actors.pbs.dialects import text as text_dialect
from cloudmesh_actors.pbs.dialects import xml as xml_dialect
from cloudmesh_actors.pbs.model import Attributes

#: Jobs whose attributes are packed together.
SIZE = 64

#: A fast level: in packs of similar jobs the others save little more.
ZLIB_LEVEL = 1

_READERS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "json": json_dialect.attributes,
    "text": text_dialect.attributes,
    "xml": xml_dialect.attributes,
}
_NAMES = {read: name for name, read in _READERS.items()}


def packs(all_attributes: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
    """The attributes of all jobs, packed by the `SIZE`."""
    rest = iter(all_attributes)
    while some := list(islice(rest, SIZE)):
        yield _pack(some)


def unpack(packed: bytes) -> list[Mapping[str, str]]:
    """The attributes of the jobs of a pack; each job's are read when they are first asked for."""
    head, _, texts = zlib.decompress(packed).partition(b"\n")
    found: list[Mapping[str, str]] = []
    at = 0
    for entry in orjson.loads(head):
        if isinstance(entry, dict):
            found.append(entry)
            continue
        dialect, length = entry
        found.append(Attributes(texts, at, at + length, _READERS[dialect]))
        at += length
    return found


def plain(attributes: Mapping[str, str]) -> dict[str, str]:
    """A dictionary of attributes; those that are read on demand are not kept in memory for that."""
    return attributes.plain() if isinstance(attributes, Attributes) else dict(attributes)


def readable(attributes: Mapping[str, str]) -> dict[str, str]:
    """A dictionary of attributes in which all is Unicode text, whatever was printed."""
    found: dict[str, str] = orjson.loads(as_json(plain(attributes)))
    return found


def as_json(value: Any) -> str:
    """JSON that has nothing in it which is no Unicode text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half of a surrogate pair, or an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _pack(some: Iterable[Mapping[str, str]]) -> bytes:
    entries: list[Any] = []
    texts: list[bytes] = []
    for attributes in some:
        unread = attributes.unread() if isinstance(attributes, Attributes) else None
        if unread is None or unread[0] not in _NAMES:
            entries.append(plain(attributes))
        else:
            read, text = unread
            entries.append([_NAMES[read], len(text)])
            texts.append(text)
    return zlib.compress(b"\n".join((as_json(entries).encode(), b"".join(texts))), ZLIB_LEVEL)
