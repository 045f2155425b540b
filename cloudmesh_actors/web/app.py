"""The console, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cloudmesh_actors.settings import Settings
from cloudmesh_actors.web import api, counting, health, jobs, launch, launches, login, pages, problems
from cloudmesh_actors.web.access import Rules
from cloudmesh_actors.web.guard import Guard
from cloudmesh_actors.web.live import Hub
from cloudmesh_actors.web.streams import StoreWatch

#: Requests that are worked on at once. They wait for the store, and each thread costs memory.
THREADS = 8


def build(config: Settings, hub: Hub | None = None) -> ASGIApp:
    """The console of these settings.

    Raises:
        SettingsError: others could reach it, and there is no token.
    """
    hub = hub or Hub(StoreWatch().changed)
    shared = {"hub": hub, "job_counts": counting.Cached(counting.of_jobs),
              "launch_stats": counting.Cached(counting.of_launches)}  # fmt: skip
    return Guard(application(hub), Rules.of(config), shared)


def application(hub: Hub) -> FastAPI:
    """All pages and the API, without the guard before them."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        hub.start()
        yield
        hub.stop()

    app = FastAPI(
        title="cloudmesh_actors", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        description="The same as the console's pages, for programs.", lifespan=lifespan,
    )  # fmt: skip
    for router in (login.router, launches.router, launch.router, jobs.router, health.router, api.router):
        app.include_router(router)
    app.mount("/static", Unchanging(directory=pages.STATIC), name="static")
    problems.install(app)
    return app


class Unchanging(StaticFiles):
    """Files whose addresses change with their contents: browsers may keep them."""

    def file_response(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        """See StaticFiles."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
