"""Runs revisions inside a transaction that the caller has begun. The only place that knows Alembic's workings.

Of Alembic we use the revision scripts, their order and the operations. The version of a database is its PRAGMA
user_version, which readers ask for without Alembic; there is no table for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FOLDER: Final = Path(__file__).parent
"""Holds ``versions/``."""


def head(folder: Path = FOLDER) -> int:
    """The schema version that the last revision leads to."""
    return int(_scripts(folder).get_current_head() or 0)


def run(connection: Connection, version: int, folder: Path = FOLDER) -> None:
    """Every revision after *version* has been run, in order, in the transaction of *connection*."""
    scripts = _scripts(folder)
    with Operations.context(MigrationContext.configure(connection)):
        for script in reversed(list(scripts.walk_revisions())):
            if int(script.revision) > version:
                script.module.upgrade()


def _scripts(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(os.fspath(folder))
