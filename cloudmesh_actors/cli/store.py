"""``cm-actors store``."""

from __future__ import annotations

from cloudmesh_actors.cli.common import Json
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Look after the store.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Look after the store."""


@app.command()
def upgrade(as_json: Json = False) -> None:
    """Bring the store's schema to this release's. SQLite does it by itself, PostgreSQL needs it once a release."""
    from cloudmesh_actors import settings
    from cloudmesh_actors.cli import output, streams
    from cloudmesh_actors.store import SCHEMA_VERSION, Store

    url = settings.current().resolved_store_url
    unchecked = Store(url, check_schema=False)
    with unchecked.read():  # says it in a sentence when nobody answers
        before = unchecked.schema_version()
    if before is None or before < SCHEMA_VERSION:
        unchecked.upgrade()
    Store(url)  # complains of one that is too new
    if as_json:
        output.as_json({"store": unchecked.url_masked, "before": before, "now": SCHEMA_VERSION})
    elif before == SCHEMA_VERSION:
        streams.say(f"The store {unchecked.url_masked} is at schema {SCHEMA_VERSION} already.")
    else:
        streams.say(f"The store {unchecked.url_masked} is at schema {SCHEMA_VERSION} now; it was {before or 'empty'}.")
