"""Forms: their fields, read as text, and the token that shows that this console made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from cloudmesh_actors.web.access import Rules
from cloudmesh_actors.web.problems import Problem

#: The hidden field of every form.
TOKEN_FIELD = "form_token"  # noqa: S105 - the name, not the token

#: A form of ours has fewer fields, even with a tick for each of a thousand servers.
MAX_FIELDS = 10_000

_URLENCODED = "application/x-www-form-urlencoded"


class Fields(Mapping[str, str]):
    """What was filled in: the last value of each field, and `all` of those that may be ticked several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._last = dict(pairs)

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for field, value in self._pairs if field == name]

    def beginning(self, prefix: str) -> dict[str, str]:
        """The fields whose names begin so, without that beginning."""
        return {name.removeprefix(prefix): value for name, value in self._last.items() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> str:
        return self._last[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)


async def checked(request: Request) -> Fields:
    """The fields of a form that this console made for this browser.

    Raises:
        Problem: it is no form, or not ours.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _URLENCODED:
        raise Problem(415, f"A form is sent as {_URLENCODED}; for programs there is /api/v1.")
    fields = Fields(_pairs(await request.body()))
    rules: Rules = request.state.rules
    if not rules.is_form_token(fields.get(TOKEN_FIELD, ""), request.state.session):
        raise Problem(403, "This form is not from this console, or from before its cookies were deleted. "
                           "Nothing was done: go back, load the page again, and press once more.")  # fmt: skip
    return fields


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Problem(400, "The form cannot be read.") from None


#: A handler's argument that is a form of ours. Every page's POST has one.
Form = Annotated[Fields, Depends(checked)]
