"""What the settings in folders said when they were last without a mistake. Functions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from storage.schema import FolderRow


def keep(
    session: Session, inbox: bytes, changed: Mapping[bytes, Mapping[str, object]], gone: Collection[bytes]
) -> None:
    """See `JobStore.keep_settings`."""
    for path in gone:
        session.execute(delete(FolderRow).where(FolderRow.path == path))
    if changed:
        rows = upsert(FolderRow)
        session.execute(
            rows.on_conflict_do_update(
                index_elements=[FolderRow.path],
                set_={"inbox": rows.excluded.inbox, "settings": rows.excluded.settings},
            ),
            [{"path": path, "inbox": inbox, "settings": settings} for path, settings in changed.items()],
        )


def kept(session: Session, inbox: bytes) -> dict[bytes, Mapping[str, object]]:
    """See `JobQueries.folder_settings`."""
    query = select(FolderRow.path, FolderRow.settings).where(FolderRow.inbox == inbox)
    return {row.path: row.settings for row in session.execute(query)}
