"""What went wrong, as a page for people and as ``application/problem+json`` (RFC 9457) for programs."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cloudmesh_actors import errors, logs
from cloudmesh_actors.errors import CloudmeshError

#: Which status an error stands for; the first class that fits counts.
STATUS: tuple[tuple[type[CloudmeshError], int], ...] = (
    (errors.UnknownJob, 404),
    (errors.ArgumentError, 422),
    (errors.NodeSetError, 422),
    (errors.JobError, 409),
    (errors.BrokerUnavailable, 503),
    (errors.StoreError, 503),
)

#: What to do next, where the error itself does not say so.
ADVICE: Mapping[int, str] = {
    404: "Look for it among all jobs, or begin with a launch.",
    405: "Go to the page that has the button for this.",
    413: "Send less at once.",
    500: "Its traceback is in the console's log, LOG_DIR/web.log.",
    503: "Look whether the fleet is up: make workers-status. This page can be loaded again then.",
}

log = logs.get_logger()


class Problem(Exception):
    """Something that is told to the caller with a status. `wrong` has a sentence for each field at fault."""

    def __init__(self, status: int, detail: str, *, wrong: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wrong = status, detail, dict(wrong or {})

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def as_object(self) -> dict[str, Any]:
        """The members of RFC 9457, and `errors` for fields."""
        told: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        return {**told, "detail": self.detail, **({"errors": self.wrong} if self.wrong else {})}


def problem_of(error: Exception) -> Problem:
    """An error as a problem; one that is not on purpose tells nothing of itself."""
    match error:
        case Problem():
            return error
        case CloudmeshError():
            status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
            return Problem(status, str(error), wrong=getattr(error, "errors", None))
        case HTTPException():
            return Problem(error.status_code, _of_http(error))
        case RequestValidationError():
            wrong = {_place(each["loc"]): str(each["msg"]) for each in error.errors()}
            return Problem(422, "; ".join(f"{name}: {text}" for name, text in wrong.items()), wrong=wrong)
    return Problem(500, "There is a fault in this program.")


def wants_json(path: str) -> bool:
    """Whether whoever asks for this path is a program."""
    return path.startswith(("/api/", "/healthz", "/readyz")) or path.endswith("/live")


def respond(request: Request, problem: Problem) -> Response:
    """The problem as the caller can read it."""
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    if wants_json(request.url.path):
        return JSONResponse(problem.as_object(), problem.status, headers, media_type="application/problem+json")
    from cloudmesh_actors.web import pages

    return pages.page(request, "problem.html", status=problem.status, problem=problem,
                      advice=ADVICE.get(problem.status, ""))  # fmt: skip


def install(app: FastAPI) -> None:
    """Have every error of the application told in this way."""
    for kind in (Problem, CloudmeshError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _handle)


def _handle(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 500:
        log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return respond(request, problem)


def _of_http(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is no such page."
    if error.status_code == 405:
        return "This address is not for looking: what it does is asked for with a button, or with POST."
    return str(error.detail)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])
