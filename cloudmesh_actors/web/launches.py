"""The page of all launches, with its filters and counts, and their reset."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.launcher import records
from cloudmesh_actors.launcher.model import Launch, LaunchState
from cloudmesh_actors.web import audit, pages
from cloudmesh_actors.web.counting import LaunchCounts
from cloudmesh_actors.web.forms import Form
from cloudmesh_actors.web.live import Picture
from cloudmesh_actors.web.streams import stream

#: Launches on a page.
PAGE = 50

#: The address of the page, as it has always been.
ADDRESS = "/cm/launch/db_stats"

router = APIRouter(prefix="/cm/launch", include_in_schema=False)


class Wanted:
    """The filters, as they stand in the address of the page."""

    def __init__(
        self,
        state: str = "",
        recipe: Annotated[str, Query(max_length=64)] = "",
        server: Annotated[str, Query(max_length=255)] = "",
        before: Annotated[str, Query(max_length=64)] = "",
    ) -> None:
        if state and state not in set(LaunchState):
            raise ArgumentError(f"There is no state {state[:80]!r}; there are {', '.join(LaunchState)}.")
        self.state, self.recipe, self.server, self.before = state, recipe, server, before

    def address(self, **other: str) -> str:
        """The query of the page with some filters changed; back to its beginning unless `before` is among them."""
        fields = {"state": self.state, "recipe": self.recipe, "server": self.server, **other}
        given = {name: value for name, value in fields.items() if value}
        return f"?{urlencode(given)}" if given else "?"

    def find(self, limit: int) -> list[Launch]:
        """The launches on the page, and the next ones, `limit` in all."""
        return records.launches(
            recipe=self.recipe or None,
            server=self.server or None,
            state=self.state or None,
            before=self.before or None,
            limit=limit,
        )


def listing(counts: LaunchCounts, wanted: Wanted) -> Picture:
    """The picture of the page."""
    found = wanted.find(PAGE + 1)
    shown = found[:PAGE]
    row, chips, by_recipe, more = (
        pages.macro("launches_parts.html", name) for name in ("row", "chips", "by_recipe", "more")
    )
    return Picture(
        parts={
            "chips": chips(counts.states, wanted),
            "by-recipe": by_recipe(counts.recipes, LaunchState, wanted),
            "more": more(wanted, shown, len(found) > PAGE),
        },
        lists={"launch-rows": {each.step_id: row(each) for each in shown}},
    )


@router.get("/db_stats")
def db_stats(
    request: Request, wanted: Annotated[Wanted, Depends()], forgotten: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """All launches, the latest first."""
    picture = listing(request.state.launch_stats.get(), wanted)
    return pages.page(request, "launches.html", picture=picture, wanted=wanted, forgotten=forgotten,
                      states=list(LaunchState), recipes=request.state.launch_stats.get().recipes)  # fmt: skip


@router.get("/db_stats/live")
async def db_stats_live(request: Request, wanted: Annotated[Wanted, Depends()]) -> Response:
    """The changes of that page."""
    counts = request.state.launch_stats
    name = f"launches{wanted.address(before=wanted.before)}"
    return stream(request, name, lambda: listing(counts.get(), wanted))


@router.get("/db_reset")
@router.get("/db_stats/cm/db_reset")
def ask(request: Request) -> Response:
    """Ask whether finished launches are to be forgotten. This changes nothing."""
    return pages.page(request, "reset.html", states=request.state.launch_stats.get().states)


@router.post("/db_reset")
@router.post("/db_stats/cm/db_reset")
def reset(request: Request, _form: Form) -> Response:
    """Forget finished launches."""
    count = audit.told(request, "reset launches", "all that have ended", records.reset)
    request.state.launch_stats.forget()
    return RedirectResponse(f"{ADDRESS}?forgotten={count}", 303)
