"""The web console's process: uvicorn in a thread, and what every process of the fleet does in the main one."""

from __future__ import annotations

import os
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from cloudmesh_actors import logs, roster, settings
from cloudmesh_actors.errors import FleetError
from cloudmesh_actors.settings import Settings, variable
from cloudmesh_actors.web.app import build
from cloudmesh_actors.web.live import Hub
from cloudmesh_actors.web.streams import StoreWatch
from workers.configuration import web_address
from workers.process import guarded, leave, log, patiently, settle, watch
from workers.signals import StopRequest

NAME = "web"

#: Connections that may wait to be accepted.
BACKLOG = 512

#: Seconds between looks whether uvicorn has started.
LOOK_EVERY_S = 0.02

#: How long requests may take to end after the streams were ended, in seconds.
STOP_WITHIN_S = 3


def run(_name: str, stop: StopRequest) -> int:
    """Serve the console until `stop`; returns the exit code."""
    logs.configure(worker=NAME)
    return guarded(lambda: serve(settings.current(), stop))


def serve(config: Settings, stop: StopRequest) -> None:
    """Serve the console of these settings until `stop`."""
    hub = Hub(StoreWatch().changed)
    console = build(config, hub)
    listening = listen(config)
    entry = patiently(lambda: roster.register(NAME, "", config.runtime_dir.name), stop)
    server = uvicorn.Server(configured(console))
    thread = threading.Thread(target=server.run, args=([listening],), name="uvicorn", daemon=True)
    thread.start()
    while not server.started and not stop.wait(LOOK_EVERY_S):
        if not thread.is_alive():
            raise FleetError("The console did not start; the lines above say why.")
    settle()
    entry.ready()
    log.info("worker.ready", pid=os.getpid(), address=web_address(config))
    watch(entry, stop)
    log.info("worker.stopping", streams=hub.listeners)
    server.should_exit = True
    hub.stop()
    thread.join(STOP_WITHIN_S + 1)
    leave(entry)


def configured(console: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves the console: what it logs lands in our log, and no header of a proxy is believed."""
    return uvicorn.Config(
        console, log_config=None, access_log=False, proxy_headers=False, server_header=False, ws="none", lifespan="on",
        timeout_graceful_shutdown=STOP_WITHIN_S, backlog=BACKLOG,
    )  # fmt: skip


def listen(config: Settings) -> socket.socket:
    """The socket that browsers connect to. Raises FleetError with the reason when there can be none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.web_host, config.web_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        raise FleetError(
            f"The console cannot listen on {config.web_host} port {config.web_port}: {error.strerror}. "
            f"Another one: {variable('web_port')} (make web-up WEB_PORT=5001)."
        ) from None
    return listening
