"""Brings a database to the present schema when its writer opens it: makes the tables, or migrates them.

A migration is one transaction around all statements and the version, after a snapshot: killed anywhere, the database
is as it was (Python's own transaction handling would commit before each DDL statement; ours does not).
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from storage.errors import NewerSchema, StorageError
from storage.schema import VERSION, Base
from storage.snapshots import Snapshots
from storage.views import VIEWS

log = logging.getLogger(__name__)


def version_of(connection: Connection, path: Path) -> int:
    """The schema version of the database; 0 for one without tables of ours. Raises NewerSchema."""
    version: int = connection.execute(text("PRAGMA user_version")).scalar_one()
    if version > VERSION:
        raise NewerSchema(f"{path} has schema {version}, this program knows {VERSION}: run the newer program")
    return version


def prepare(engine: Engine, path: Path) -> None:
    """The database behind *engine* has the present schema. Raises NewerSchema, StorageError."""
    with engine.begin() as connection:
        version = version_of(connection, path)
        if version == 0:
            _create(connection, path)
    if 0 < version < VERSION:
        _migrate(engine, path, version)


def _create(connection: Connection, path: Path) -> None:
    if connection.execute(text("SELECT count(*) FROM sqlite_schema")).scalar_one():
        raise StorageError(f"{path} is a database of another program; point to another file")
    Base.metadata.create_all(connection)
    _make_views(connection)
    _set_version(connection)


def _migrate(engine: Engine, path: Path, version: int) -> None:
    from storage.migrations import runner  # Alembic takes 0.4 s to import, and is needed once for each new version

    snapshot = Snapshots.beside(path).take(f"schema-{version}")
    log.info(
        "Bringing %s from schema %d to %d; before it, a copy went to %s",
        *(path, version, VERSION, snapshot),
        extra={"event": "migrating", "from": version, "to": VERSION, "snapshot": str(snapshot)},
    )
    with _foreign_keys_off(engine), engine.begin() as connection:
        _drop_views(connection)
        runner.run(connection, version)
        _make_views(connection)
        _set_version(connection)
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        if broken:
            raise StorageError(f"cannot bring {path} to schema {VERSION}: {len(broken)} rows would point nowhere")
    log.info("%s has schema %d now", path, VERSION, extra={"event": "migrated", "to": VERSION})


@contextmanager
def _foreign_keys_off(engine: Engine) -> Generator[None]:
    """As SQLite asks for where tables are rebuilt (sqlite.org/lang_altertable.html); has no effect in a transaction."""
    _pragma(engine, "foreign_keys = OFF")
    try:
        yield
    finally:
        _pragma(engine, "foreign_keys = ON")


def _pragma(engine: Engine, pragma: str) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute(f"PRAGMA {pragma}")
    finally:
        raw.close()


def _drop_views(connection: Connection) -> None:
    """Those of ours, which are all that begin with v_: a view on a table that changes would be in the way."""
    names = connection.execute(text("SELECT name FROM sqlite_schema WHERE type = 'view' AND name GLOB 'v_*'"))
    for name in names.scalars().all():
        connection.exec_driver_sql(f'DROP VIEW "{name}"')


def _make_views(connection: Connection) -> None:
    for view in VIEWS:
        connection.exec_driver_sql(view)


def _set_version(connection: Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
