"""Alembic's side of the store: `upgrade()` runs what is missing in `versions/`.

A new migration: add `versions/NNNN_what.py` (copy the newest), raise `store.SCHEMA_VERSION`, and run the tests; one
of them compares the tables that the migrations make with those that the code declares.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Engine


def config(engine: Engine) -> Config:
    """Alembic's configuration for one engine; there is no alembic.ini."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["engine"] = engine
    return settings


def upgrade(engine: Engine) -> None:
    """Run every migration that the database has not seen."""
    command.upgrade(config(engine), "head")
