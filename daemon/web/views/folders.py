"""The inboxes and the settings in their folders, as a page: what holds where, and who says so. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.config import InboxConfig
from daemon.folderpage.names import shown, shown_text, shown_words
from daemon.intake.explain import Explanation
from daemon.intake.folder_settings import Effective, Said, Values, of_inbox, resolve
from daemon.intake.settings_mistakes import FILE_NAME
from daemon.web.views.recording import Setting, settings, value_of
from daemon.web.views.telling import Badge, Teller, as_query

MOST_FOLDERS: Final = 200
"""So many folders with settings are shown of an inbox."""


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder with settings of its own. *said* are those; *around* what holds there besides and is no default."""

    name: str
    place: str
    said: tuple[Setting, ...]
    around: tuple[Setting, ...]
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InboxCard:
    """An inbox. *may_set* are the keys that its folders may set; none: no such file is looked at."""

    path: str
    place: str
    badge: Badge
    about: str
    trouble: str
    settings: tuple[Setting, ...]
    defaults: tuple[Setting, ...]
    folders: tuple[FolderRow, ...]
    more: str
    may_set: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FoldersPage:
    """The page. *asked* is a path that is to be explained, *explanation* says why it is treated as it is."""

    inboxes: tuple[InboxCard, ...]
    file_name: str = FILE_NAME
    asked: str = ""
    rule: str = ""
    explanation: tuple[str, ...] = ()
    job_id: int | None = None


def folders_page(
    inboxes: Sequence[tuple[InboxConfig, Mapping[bytes, Values]]],
    status: Mapping[str, Any],
    teller: Teller,
    explained: tuple[str, Explanation] | None = None,
) -> FoldersPage:
    """The page; with each inbox comes what the settings in its folders said last without a mistake."""
    told = {str(one.get("path")): one for one in status.get("inboxes", ())}
    cards = tuple(_card(inbox, kept, told.get(str(inbox.path), {}), teller) for inbox, kept in inboxes)
    if explained is None:
        return FoldersPage(cards)
    asked, explanation = explained
    lines = tuple(shown_words(line) for line in explanation.lines)
    rule = shown_words(explanation.rule)
    return FoldersPage(cards, asked=shown_text(asked), rule=rule, explanation=lines, job_id=explanation.job_id)


def _card(inbox: InboxConfig, kept: Mapping[bytes, Values], told: Mapping[str, Any], teller: Teller) -> InboxCard:
    say = teller.say
    root = os.fsencode(inbox.path)
    own = _shown(of_inbox(inbox), teller)
    rows = list(_rows(inbox, kept, teller)) if inbox.may_set else []
    n_more = len(rows) - MOST_FOLDERS
    offline = str(told.get("offline") or "")
    badge = Badge(say("folders.offline"), "bad") if offline else Badge(say("folders.watched"), "ok")
    if not told:
        badge = Badge(say("folders.unknown"), "muted")
    about = ""
    if told.get("watched_by"):
        settle_s = told.get("settle_s")
        about = say(f"folders.by_{told['watched_by']}", words=shown_words(str(told.get("because") or "")))
        about += f" {say('folders.settles', time=teller.duration(settle_s))}" if settle_s is not None else ""
    return InboxCard(
        path=shown(root),
        place=as_query(root),
        badge=badge,
        about=about,
        trouble=shown_words(offline or str(told.get("degraded") or "")),
        settings=tuple(one for one in own if not one.is_default),
        defaults=tuple(one for one in own if one.is_default),
        folders=tuple(rows[:MOST_FOLDERS]),
        more=say("folders.more", n=n_more) if n_more > 0 else "",
        may_set=tuple((key, _help(key, teller)) for key in inbox.may_set),
    )


def _help(key: str, teller: Teller) -> str:
    return teller.say(f"option.{key}") if teller.words.has(f"option.{key}") else ""


def _shown(effective: Effective, teller: Teller) -> tuple[Setting, ...]:
    return settings(effective.values, effective.origins, teller)


def _rows(inbox: InboxConfig, kept: Mapping[bytes, Values], teller: Teller) -> Iterator[FolderRow]:
    """The folders with settings, the outer first."""
    resolved = resolve(inbox, {folder: Said(dict(values)) for folder, values in kept.items()}, kept)
    for folder in sorted(resolved.settings.files):
        effective = resolved.settings.files[folder]
        own = resolved.good.get(folder, {})
        said = tuple(Setting(key, value_of(value, teller), "", _help(key, teller), False) for key, value in own.items())
        around = tuple(one for one in _shown(effective, teller) if not one.is_default and one.key not in own)
        mistakes = tuple(shown_words(mistake.told(teller.words)) for mistake in resolved.mistakes.get(folder, ()))
        yield FolderRow(shown(folder), as_query(folder), said, around, mistakes)
