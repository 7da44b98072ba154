"""The inboxes and the settings in their folders, as a page: what holds where, and who says so. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.config import InboxConfig
from daemon.folderpage.names import shown, shown_text, shown_words
from daemon.intake.explain import Explanation
from daemon.intake.folder_settings import Effective, Resolved, Said, Values, of_inbox, resolve
from daemon.intake.settings_mistakes import FILE_NAME, Mistake
from daemon.web.views.recording import Setting, settings, value_of
from daemon.web.views.telling import Badge, Teller, as_query

MOST_FOLDERS: Final = 200
"""So many folders with settings are shown of an inbox."""


@dataclass(frozen=True, slots=True)
class Known:
    """An inbox, what the settings in its folders said last without a mistake, and what is wrong with them now."""

    inbox: InboxConfig
    kept: Mapping[bytes, Values]
    mistakes: Mapping[bytes, Sequence[Mistake]]


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder with settings of its own. *said* are those; *around* what holds there besides and is no default.

    Of a file with *mistakes*, *said* is what it said before; nothing where it was never taken.
    """

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
    inboxes: Sequence[Known],
    status: Mapping[str, Any],
    teller: Teller,
    explained: tuple[str, Explanation] | None = None,
) -> FoldersPage:
    """The page."""
    told = {str(one.get("path")): one for one in status.get("inboxes", ())}
    cards = tuple(_card(known, told.get(str(known.inbox.path), {}), teller) for known in inboxes)
    if explained is None:
        return FoldersPage(cards)
    asked, explanation = explained
    lines = tuple(shown_words(line) for line in explanation.lines)
    rule = shown_words(explanation.rule)
    return FoldersPage(cards, asked=shown_text(asked), rule=rule, explanation=lines, job_id=explanation.job_id)


def _card(known: Known, told: Mapping[str, Any], teller: Teller) -> InboxCard:
    inbox, say = known.inbox, teller.say
    root = os.fsencode(inbox.path)
    own = _shown(of_inbox(inbox), teller)
    rows, n_more = _rows(known, teller) if inbox.may_set else ((), 0)
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
        folders=rows,
        more=say("folders.more", n=n_more) if n_more else "",
        may_set=tuple((key, _help(key, teller)) for key in inbox.may_set),
    )


def _help(key: str, teller: Teller) -> str:
    return teller.say(f"option.{key}") if teller.words.has(f"option.{key}") else ""


def _shown(effective: Effective, teller: Teller) -> tuple[Setting, ...]:
    return settings(effective.values, effective.origins, teller)


def _rows(known: Known, teller: Teller) -> tuple[tuple[FolderRow, ...], int]:
    """The folders with a file of settings, those with a mistake first, then the outer; how many more there are."""
    kept = known.kept
    resolved = resolve(known.inbox, {folder: Said(dict(values)) for folder, values in kept.items()}, kept)
    wrong = {**resolved.mistakes, **known.mistakes}
    folders = sorted({*resolved.settings.files, *wrong}, key=lambda folder: (folder not in wrong, folder))
    rows = tuple(_row(folder, resolved, wrong.get(folder, ()), teller) for folder in folders[:MOST_FOLDERS])
    return rows, len(folders) - len(rows)


def _row(folder: bytes, resolved: Resolved, wrong: Sequence[Mistake], teller: Teller) -> FolderRow:
    own = resolved.good.get(folder, {})
    said = tuple(Setting(key, value_of(value, teller), "", _help(key, teller), False) for key, value in own.items())
    effective = _shown(resolved.settings.of(folder), teller)
    around = tuple(one for one in effective if not one.is_default and one.key not in own)
    mistakes = [shown_words(mistake.told(teller.words)) for mistake in wrong]
    if mistakes:
        mistakes.append(teller.say("settings.until_before" if own else "settings.until_around"))
    return FolderRow(shown(folder), as_query(folder), said, around, tuple(mistakes))
