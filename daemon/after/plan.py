"""What a recording and its transcripts are to become, on paper: what the history keeps while they go. Pure."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from daemon.after.carrying import new_temporary
from daemon.after.names import numbered
from storage.records import Fingerprint


@dataclass(frozen=True, slots=True)
class Item:
    """One file: where it was when its job was done, where it is to be found now, and where it goes.

    *expected* is what it must be now; None: anything.
    """

    origin: bytes
    now: bytes
    target: bytes
    temporary: bytes
    expected: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of one recording, which is the first. *number* is that of their names: the second try is 2.

    *root* is the folder, on the way to where they go, that must exist: the configuration may say another one by now.
    """

    items: tuple[Item, ...]
    number: int
    root: bytes

    @property
    def recording(self) -> Item:
        """That of the recording."""
        return self.items[0]

    def packed(self) -> bytes:
        """It, as `unpacked` reads it."""
        items = [
            {key: os.fsdecode(value) if isinstance(value, bytes) else value for key, value in asdict(item).items()}
            for item in self.items
        ]
        return json.dumps({"number": self.number, "root": os.fsdecode(self.root), "items": items}).encode("ascii")


def unpacked(content: bytes) -> Plan:
    """What was packed. Raises ValueError, LookupError or TypeError for anything else."""
    table = json.loads(content)
    return Plan(tuple(_item(fields) for fields in table["items"]), int(table["number"]), os.fsencode(table["root"]))


def _item(fields: dict[str, Any]) -> Item:
    origin, now, target, temporary = (os.fsencode(fields[key]) for key in ("origin", "now", "target", "temporary"))
    expected = fields["expected"]
    return Item(origin, now, target, temporary, Fingerprint(**expected) if expected is not None else None)


def planned(items: tuple[Item, ...], folder: bytes, number: int, root: bytes) -> Plan:
    """*items* on their way to *folder* in *root*, with names of this *number*."""
    names = numbered([os.path.basename(item.origin) for item in items], number)
    return Plan(
        tuple(
            Item(item.origin, item.now, os.path.join(folder, name), new_temporary(), item.expected)
            for item, name in zip(items, names, strict=True)
        ),
        number,
        root,
    )
