"""The console under test: in this process over a broker in memory, or a fleet's with real workers."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from cloudmesh_actors import broker, settings, steps, store
from cloudmesh_actors.actor import import_families
from cloudmesh_actors.launcher import recipes
from cloudmesh_actors.web import audit
from cloudmesh_actors.web.app import build
from workers.web import configured

SITE = """
clusters:
  mesh: {nodes: "i[001-004]"}
hosts:
  "i[001-004]": {driver: simulator}
recipes: recipes
"""

RECIPES = {
    "quick": """
label: Quick & <b>done</b>
description: Says <script>alert(1)</script> and is done.
parameters:
  count: {type: integer, default: 3, min: 1, max: 9}
  mood: {type: choice, choices: [calm, brisk], default: calm}
  word: {type: string}
  loud: {type: boolean, default: true}
script:
  - [echo, "count={count} mood={mood} loud={loud} <i>{word}</i> on {server}"]
""",
    "broken": """
label: Broken
script:
  - [echo, "about to fail on {server}"]
  - ["false"]
repeatable: true
""",
    "slow": """
label: Slow
script:
  - [echo, "begun on {server}"]
  - [sleep, "60"]
repeatable: true
""",
}

TOKEN = "correct-horse-battery-staple"


def write_site(folder: Path) -> Path:
    """The site file in a folder, with its recipes beside it."""
    (folder / "recipes").mkdir(parents=True)
    for name, text in RECIPES.items():
        (folder / "recipes" / f"{name}.yaml").write_text(text)
    (folder / "site.yaml").write_text(SITE)
    return folder / "site.yaml"


class Console:
    """The console in this process, as a browser on the same machine sees it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.home = str(client.base_url).rstrip("/")

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, follow_redirects=False, **options)

    def post(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        """Press a button of one of our forms."""
        data = {"form_token": self.form_token(), **(fields or {})}
        return self.client.post(path, data=data, follow_redirects=False, **options)

    def form_token(self) -> str:
        match = re.search(r'name="form_token" value="(\w+)"', self.client.get("/cm/launch").text)
        assert match
        return match[1]


@contextmanager
def console(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> Iterator[Console]:
    """The console with settings of its own: a site, a store, and a broker in memory."""
    values = {"LOG_DIR": folder / "logs", "BROKER_URL": "stub://", "SITE": write_site(folder), **more}
    for name, value in values.items():
        monkeypatch.setenv(f"CLOUDMESH_{name}", str(value))
    settings.reset()
    import_families()
    broker.reset()
    with served(build(settings.current())) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield Console(client)
    broker.reset()
    store.reset()
    recipes.reset()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An application behind uvicorn in a thread; gives its address."""
    # with its protocol: of others, asyncio does not know that they are TCP, and answers wait for acknowledgements
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(configured(app))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def effects() -> tuple[int, int, int]:
    """What was done, if anything: jobs sent, launches recorded, changes written down."""
    from cloudmesh_actors.launcher import records

    with store.current().read() as connection:
        counts = [
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (steps.steps, records.table, audit.table)
        ]
    return counts[0], counts[1], counts[2]
