"""What is known of an upload, in a small file of the state folder: it outlives the daemon. Knows no inbox."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording on its way. *folder* is a path below *inbox*; *size_bytes* None: not known before its end.

    *trying* is the last name that was tried for it in the folder. Once it is there, *path* says where, and *job* is the
    number of its job.
    """

    id: str
    by: str
    inbox: str
    folder: str
    name: str
    size_bytes: int | None
    sha256: str
    choices: Mapping[str, object]
    created_at: str
    trying: int = 0
    path: str = ""
    job: int | None = None

    @property
    def part(self) -> str:
        """Its name in the folder while it is not whole: hidden, and not one that the intake removes."""
        return f".tr-upload-{self.id}.part"

    @property
    def is_there(self) -> bool:
        """Whether it has its place."""
        return bool(self.path)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What `to_json` wrote. Raises LookupError, TypeError, ValueError."""
        fields = dict(content)
        if fields.pop("version") != _VERSION:
            raise ValueError("of another version")
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Itself as JSON types."""
        return {"version": _VERSION} | asdict(self) | {"choices": dict(self.choices)}

    def begun_before(self, at: datetime) -> bool:
        """Whether it was begun before *at*."""
        return datetime.fromisoformat(self.created_at) < at


class Records:
    """A folder with one file an upload."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, upload: Upload) -> None:
        """It is on disk when this returns. Raises OSError."""
        path = self._path(upload.id)
        part = path.with_suffix(".new")
        with part.open("w", encoding="ascii") as file:
            json.dump(upload.to_json(), file, ensure_ascii=True)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def load(self, upload_id: str) -> Upload | None:
        """The upload of that id; None where there is none that we can read."""
        if not (upload_id.isalnum() and upload_id.isascii()):
            return None
        try:
            return Upload.from_json(json.loads(self._path(upload_id).read_bytes()))
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def all(self) -> list[Upload]:
        """Every upload, the oldest first."""
        found = [upload for path in self._folder.glob("*.json") if (upload := self.load(path.stem)) is not None]
        return sorted(found, key=lambda upload: (upload.created_at, upload.id))

    def drop(self, upload_id: str) -> None:
        """Nothing is known of it any more."""
        self._path(upload_id).unlink(missing_ok=True)

    def _path(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.json"
