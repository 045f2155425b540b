"""Each request is held against the rules before anything else sees it, and each answer gets its protecting headers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloudmesh_actors import logs
from cloudmesh_actors.web import access
from cloudmesh_actors.web.access import Rules
from cloudmesh_actors.web.problems import Problem, respond, wants_json

#: The longest body of a request, in bytes.
MAX_BODY = 1_000_000

#: Where the token is asked for.
LOGIN = "/login"

#: Paths that need no token.
OPEN = frozenset({LOGIN, "/healthz", "/readyz"})

#: What is asked for with POST, and changes nothing but who may look.
HARMLESS = frozenset({LOGIN, "/logout", "/api/v1/launches/check"})

#: Nothing comes from elsewhere, nothing goes elsewhere, nobody frames us; scripts and styles carry the page's nonce.
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

log = logs.get_logger()


class Guard:
    """ASGI middleware. Leaves `rules`, `nonce`, `session` and what is `shared` in the request's state."""

    def __init__(self, app: ASGIApp, rules: Rules, shared: Mapping[str, Any] | None = None) -> None:
        self.app, self.rules, self.shared = app, rules, dict(shared or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        state = self._state(request)
        scope.setdefault("state", {}).update(state)
        answer = _with_headers(send, state["nonce"], self._new_cookie(request, state["session"]))
        refused = self._refusal(request)
        if refused is not None:
            await refused(scope, receive, answer)
            return
        await self.app(scope, receive, answer)

    def _state(self, request: Request) -> dict[str, Any]:
        session = request.cookies.get(self.rules.session_cookie, "")
        return {
            **self.shared,
            "rules": self.rules,
            "nonce": secrets.token_urlsafe(16),
            "session": session if access.is_session(session) else access.new_session(),
        }

    def _new_cookie(self, request: Request, session: str) -> str:
        if request.cookies.get(self.rules.session_cookie) == session or wants_json(request.url.path):
            return ""
        return cookie(self.rules.session_cookie, session, secure=request.url.scheme == "https")

    def _refusal(self, request: Request) -> Response | None:
        problem = refusal(self.rules, request)
        if problem is None:
            return None
        log.warning("request.refused", method=request.method, path=request.url.path[:200], status=problem.status,
                    reason=problem.detail, client=client(request))  # fmt: skip
        is_page = request.method == "GET" and not wants_json(request.url.path)
        if problem.status == 401 and is_page:
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(wanted, safe='')}", 303)
        return respond(request, problem)


def refusal(rules: Rules, request: Request) -> Problem | None:
    """Why the request is refused; None when it may go on."""
    get = request.headers.get
    host, path = get("host", ""), request.url.path
    if not rules.answers_to(host):
        return Problem(
            421,
            f"This console does not go by the name {host[:100]!r}; "
            "CLOUDMESH_WEB_ALLOWED_HOSTS is for names that it should have.",
        )
    site, mode = get("sec-fetch-site", ""), get("sec-fetch-mode", "")
    if access.is_foreign(request.method, host, origin=get("origin", ""), site=site, mode=mode):
        return Problem(403, "Another site had the browser ask for this. Nothing was done.")
    admission = request.cookies.get(rules.admission_cookie, "")
    if path not in OPEN and not path.startswith("/static/") and not rules.admits(admission, get("authorization", "")):
        return Problem(401, "The console's token is needed: in the header Authorization: Bearer TOKEN, or log in.")
    return None if request.method in {"GET", "HEAD", "OPTIONS"} else _refusal_of_change(rules, request)


def _refusal_of_change(rules: Rules, request: Request) -> Problem | None:
    if rules.read_only and request.url.path not in HARMLESS:
        return Problem(403, "This console is read-only (CLOUDMESH_WEB_READ_ONLY): it shows, but changes nothing.")
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal():
        return Problem(411, "How long the request is has to be said before.")
    return Problem(413, f"The request is longer than {MAX_BODY:,} bytes.") if int(length) > MAX_BODY else None


def cookie(name: str, value: str, *, secure: bool, seconds: int | None = None) -> str:
    """A Set-Cookie header: no script reads it, and no other site has it sent with what it asks for."""
    age = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{'; Secure' if secure else ''}"


def client(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else "?"


def _with_headers(send: Send, nonce: str, new_cookie: str) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=_headers_of(message))
            headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if new_cookie:
                headers.append("Set-Cookie", new_cookie)
        await send(message)

    return answer


def _headers_of(message: Message) -> MutableMapping[str, Any]:
    message.setdefault("headers", [])
    return message
