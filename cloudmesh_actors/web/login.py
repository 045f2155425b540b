"""Where the token is asked for, the page of what was done, and the way to the first page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from cloudmesh_actors import logs
from cloudmesh_actors.web import audit, guard, pages
from cloudmesh_actors.web.access import Rules
from cloudmesh_actors.web.forms import Form

#: Where `/` leads to.
FIRST = "/cm/launch"

#: How long a browser stays logged in, in seconds.
STAYS_S = 30 * 86_400

#: Changes on a page.
PAGE = 100

router = APIRouter(include_in_schema=False)
log = logs.get_logger()


@router.get("/")
@router.get("/cm")
def first() -> Response:
    """The first page."""
    return RedirectResponse(FIRST, 303)


@router.get(guard.LOGIN)
def ask(request: Request, next_page: Annotated[str, Query(alias="next", max_length=2000)] = FIRST) -> Response:
    """The form that asks for the token."""
    return pages.page(request, "login.html", wanted=own_page(next_page), wrong=False)


@router.post(guard.LOGIN)
def log_in(request: Request, form: Form) -> Response:
    """Let somebody in who knows the token."""
    rules: Rules = request.state.rules
    wanted = own_page(form.get("next", FIRST))
    if not rules.is_token(form.get("token", "")):
        log.warning("login.refused", client=guard.client(request))
        return pages.page(request, "login.html", status=403, wanted=wanted, wrong=True)
    audit.record(request, "log in", "", "done")
    answer = RedirectResponse(wanted, 303)
    secure = request.url.scheme == "https"
    answer.headers["Set-Cookie"] = guard.cookie(
        rules.admission_cookie, rules.admission(), secure=secure, seconds=STAYS_S
    )
    return answer


@router.post("/logout")
def log_out(request: Request, _form: Form) -> Response:
    """Forget that this browser knew the token."""
    rules: Rules = request.state.rules
    answer = RedirectResponse(guard.LOGIN, 303)
    answer.headers["Set-Cookie"] = guard.cookie(rules.admission_cookie, "", secure=False, seconds=0)
    return answer


@router.get("/cm/audit")
def changes(request: Request, before: Annotated[int | None, Query(ge=1, le=2**62)] = None) -> Response:
    """Who did what, the latest first."""
    found = audit.latest(PAGE + 1, before=before)
    return pages.page(request, "audit.html", entries=found[:PAGE], more=len(found) > PAGE, before=before)


def own_page(address: str) -> str:
    """The address if it is one of this console's, else the first page: nobody is sent elsewhere after the login."""
    is_own = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_own else FIRST
