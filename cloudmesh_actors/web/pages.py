"""Templates: the environment that renders them, and the page around what they show."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cloudmesh_actors.web import words
from cloudmesh_actors.web.access import Rules
from cloudmesh_actors.web.forms import TOKEN_FIELD
from cloudmesh_actors.web.live import Picture

STATIC = Path(__file__).with_name("static")

#: The pages that every page leads to: address, name.
MENU = (
    ("/cm/launch", "Launch"),
    ("/cm/launch/db_stats", "Launches"),
    ("/cm/jobs", "Jobs"),
    ("/cm/audit", "Audit"),
    ("/api/v1/docs", "API"),
)

_FORM_TOKEN = Markup('<input type="hidden" name="{}" value="{}">')


@cache
def environment() -> Environment:
    """Everything put into a template is escaped; a name that it does not know is an error."""
    made = Environment(
        loader=PackageLoader("cloudmesh_actors.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(words.FILTERS)
    made.globals.update(took=words.took, static=static)
    return made


@cache
def static(name: str) -> str:
    """The address of a file in `static`, which changes with its contents."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def page(
    request: Request, template: str, *, status: int = 200, picture: Picture | None = None, **context: Any
) -> HTMLResponse:
    """A whole page. With a picture, `part(id)` and `rows(id)` are its HTML in the template."""
    shown = picture or Picture()
    rules: Rules = request.state.rules
    text = environment().get_template(template).render(
        menu=MENU,
        here=_here(request.url.path),
        nonce=request.state.nonce,
        read_only=rules.read_only,
        with_token=rules.token is not None,
        form_token=_FORM_TOKEN.format(TOKEN_FIELD, rules.form_token(request.state.session)),
        part=lambda name: Markup(shown.parts[name]),  # noqa: S704 - made by our own templates
        rows=lambda name: Markup("").join(map(Markup, shown.lists[name].values())),
        **context,
    )  # fmt: skip
    return HTMLResponse(text, status)


def macro(template: str, name: str) -> Any:
    """A macro of a template, as a function that gives HTML."""
    made = _macro(template, name)
    return lambda *values: made(*values).strip()


@cache
def _macro(template: str, name: str) -> Any:
    return getattr(environment().get_template(template).module, name)


def _here(path: str) -> str:
    """The page of the menu that an address belongs to."""
    path = path.replace("/db_reset", "/db_stats")
    known = [address for address, _ in MENU if path == address or path.startswith(f"{address}/")]
    return max(known, key=len, default="")
