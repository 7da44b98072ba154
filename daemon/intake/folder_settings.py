"""Which settings hold in which folder of an inbox, and where each comes from. Pure: the files' contents come in.

What is in the files is not to be trusted: whoever can write to a share writes them. So a file is taken whole or not at
all, and no value may do more than `InboxConfig.may_set` allows.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from daemon.config import InboxConfig, OptionsConfig
from daemon.config.folders import OWN_RULES, FolderConfig, is_plain
from daemon.fairness import FairBy, expected_s, person_of, ranked
from daemon.intake.settings_mistakes import FILE_NAME, LONGEST_TOLD, Mistake, Mistaken, cut, rule_broken, shown
from daemon.options import JobOptions
from storage.records import Fingerprint, NewJob
from storage.texts import readable

MOST_BYTES: Final = 16 * 1024
"""The largest file that is read."""

CONFIGURATION: Final = "configuration"
"""The origin of what the inbox itself says."""

_MOST_TOLD: Final = 10  # mistakes
_MOST_DOTS: Final = 20  # in a line outside of quotes: no key has one, and of 8,000 tomllib takes a second

_UNREAD: Final = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*")  # strings and comments of a line

Values = Mapping[str, Any]
"""What a file says, checked, as JSON types."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be set in the folders of an inbox."""

    keys: frozenset[str]
    models: frozenset[str]
    may_notify: bool
    may_be_high: bool = False

    @property
    def listed(self) -> list[str]:
        """The keys, for people."""
        return [key for key in FolderConfig.model_fields if key in self.keys]

    @classmethod
    def of(cls, inbox: InboxConfig) -> Limits:
        """Those of *inbox*. The messages of a folder go only to whom the inbox names for that."""
        models = frozenset((inbox.model, *inbox.may_set_models))
        may_be_high = inbox.may_set_high or inbox.priority == "high"
        return cls(frozenset(inbox.may_set), models, bool(inbox.notify_to), may_be_high)


@dataclass(frozen=True, slots=True)
class Said:
    """The content of a file: its table, as TOML has it, and the text, to find lines in. Not checked yet."""

    table: Mapping[str, Any]
    text: str = ""


def parse(content: bytes) -> Said:
    """What *content* says. Raises Mistaken where it is no TOML."""
    if len(content) > MOST_BYTES:
        raise Mistaken([Mistake("large", {"limit": MOST_BYTES // 1024})])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Mistaken([Mistake("not_utf8")]) from None
    if any(_UNREAD.sub("", line).count(".") > _MOST_DOTS for line in text.split("\n")):
        raise Mistaken([Mistake("dots")])
    try:
        return Said(tomllib.loads(text), text)
    except RecursionError:
        raise Mistaken([Mistake("nested")]) from None
    except tomllib.TOMLDecodeError as error:
        unquoted = str(error).startswith("Invalid value")
        raise Mistaken([Mistake("no_toml_unquoted" if unquoted else "no_toml", {"words": str(error)})]) from None
    except ValueError:  # of int()
        raise Mistaken([Mistake("long_number")]) from None


def check(said: Said, above: Values, limits: Limits) -> Values:
    """The values of *said*, which can be taken where *above* holds around it. Raises Mistaken."""
    refused = {key: _refused(key, value, limits) for key, value in said.table.items()}
    mistakes = [_mistake(said, key, *reason) for key, reason in refused.items() if reason is not None]
    if mistakes:
        more = [Mistake("more", {"n": len(mistakes) - _MOST_TOLD})] if len(mistakes) > _MOST_TOLD else []
        raise Mistaken([*mistakes[:_MOST_TOLD], *more])
    around = {key: value for key, value in above.items() if key not in OWN_RULES}
    try:
        taken = FolderConfig.model_validate(around | dict(said.table))
    except ValidationError as error:
        broken = {str(detail["loc"][0]): detail for detail in reversed(error.errors())}
        raise Mistaken([_mistake(said, key, *rule_broken(detail)) for key, detail in broken.items()]) from None
    return taken.model_dump(mode="json", include=set(said.table))


def _refused(key: str, value: Any, limits: Limits) -> tuple[str, Mapping[str, str | int]] | None:
    """Why *key* may not have *value*, as far as that is not for pydantic to say."""
    if key not in FolderConfig.model_fields:
        close = difflib.get_close_matches(key[:LONGEST_TOLD], sorted(limits.keys), n=1)
        return ("unknown_close", {"close": close[0]}) if close else ("unknown", {})
    if key not in limits.keys:
        return "not_here", {}
    if not is_plain(value):
        return "not_plain", {}
    if key == "model" and isinstance(value, str) and value not in limits.models:
        return "one_of", {"possible": ", ".join(sorted(limits.models))}
    if key == "priority" and value == "high" and not limits.may_be_high:
        return "not_high", {}
    if key == "notify" and value and not limits.may_notify:
        return "nobody_told", {}
    return None


def _mistake(said: Said, key: str, sentence: str, figures: Mapping[str, str | int]) -> Mistake:
    found = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", said.text, re.MULTILINE)
    line = said.text.count("\n", 0, found.start()) + 1 if found else 0
    value = f" = {shown(said.table[key])}" if key in said.table else ""
    return Mistake(sentence, figures, f"{cut(key)}{value}", line)


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of one folder: *values* of every key, as JSON types; *origins* of those that are no defaults.

    *ignore_from* is the folder whose file decides what is ignored.
    """

    values: Values
    origins: Mapping[str, str]
    ignore_from: bytes = b""

    def options(self) -> dict[str, object]:
        """The options of a job, as they are stored; *notify* only where a file says something of it."""
        options = OptionsConfig.model_validate({key: self.values[key] for key in OptionsConfig.model_fields})
        asked = options.job_options()
        if self.values["names"]:
            words = [asked.hotwords] if asked.hotwords else []
            asked = replace(asked, hotwords=", ".join([*words, *self.values["names"]]))
        notify = self.values["notify"]
        return asked.to_dict() | ({"notify": notify} if notify is not None else {})

    def told_origins(self) -> dict[str, str]:
        """The origin of each value in `options` that is no default."""
        told = {key: origin for key, origin in self.origins.items() if key not in ("names", "ignore")}
        if self.values["names"]:
            both = (self.origins.get("hotwords"), self.origins["names"])
            told["hotwords"] = ", ".join(dict.fromkeys(origin for origin in both if origin))
        return told

    def ignores(self, path: bytes) -> bool:
        """Whether the recording *path*, in the folder of these settings, is to be left alone."""
        ignore = self.values["ignore"]
        if isinstance(ignore, bool):
            return ignore
        pattern = _pattern(tuple(ignore))
        return any(pattern.fullmatch(os.fsdecode(part)) for part in path[len(self.ignore_from) + 1 :].split(b"/"))

    def under(self, folder: bytes, values: Values) -> Effective:
        """Those of *folder*, below, whose file says *values*."""
        origin = readable(os.path.join(folder, os.fsencode(FILE_NAME)))
        return Effective(
            {**self.values, **values},
            {**self.origins, **dict.fromkeys(values, origin)},
            folder if "ignore" in values else self.ignore_from,
        )


@lru_cache(maxsize=256)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # As on a share: case does not matter. Each star is possessive in what fnmatch makes, so no name takes long.
    return re.compile("|".join(map(fnmatch.translate, patterns)) if patterns else r"(?!)", re.IGNORECASE)


def of_inbox(inbox: InboxConfig) -> Effective:
    """The settings of a folder around which no file says anything."""
    values = inbox.model_dump(mode="json", include=set(OptionsConfig.model_fields))
    said = inbox.model_fields_set & set(OptionsConfig.model_fields)
    origins = {key: CONFIGURATION for key in OptionsConfig.model_fields if key in said}
    return Effective(values | {"names": [], "notify": None, "ignore": False}, origins)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a job, their digest, and the origin of those that are no defaults."""

    options: Mapping[str, object]
    digest: str
    origins: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """The settings of all folders of an inbox; *files* are those of folders with a file. Safe from any thread."""

    root: bytes
    above: Effective
    files: Mapping[bytes, Effective] = field(default_factory=dict[bytes, Effective])
    fair_by: FairBy = "folder"
    _asked: dict[bytes | None, Asked] = field(default_factory=dict["bytes | None", "Asked"], repr=False, compare=False)

    def of(self, folder: bytes) -> Effective:
        """Those of *folder*, which is the inbox or in it."""
        return self.files[nearest] if (nearest := self.nearest(folder)) is not None else self.above

    def asked(self, path: bytes) -> Asked:
        """What is asked of the recording at *path*."""
        nearest = self.nearest(os.path.dirname(path))
        known = self._asked.get(nearest)
        if known is None:
            effective = self.above if nearest is None else self.files[nearest]
            options = effective.options()
            known = Asked(options, JobOptions.from_dict(options).digest(), effective.told_origins())
            self._asked[nearest] = known
        return known

    def of_recording(self, path: bytes) -> Effective:
        """Those of the recording at *path*."""
        return self.of(os.path.dirname(path))

    def nearest(self, folder: bytes) -> bytes | None:
        """The folder with a file that is *folder* or the next one around it; None where none is."""
        if self.files:
            for place in around(self.root, folder):
                if place in self.files:
                    return place
        return None

    @property
    def ignore_something(self) -> bool:
        """Whether there may be recordings that are to be left alone."""
        return any(effective.values["ignore"] for effective in self.files.values())


def new_job(
    path: bytes, fingerprint: Fingerprint, settings: FolderSettings, max_attempts: int, owner: int | None = None
) -> NewJob:
    """A job for the recording at *path* with the settings that hold for it; *owner* is its file's, where known."""
    asked = settings.asked(path)
    job = NewJob(path, settings.root, fingerprint, asked.options, asked.digest, max_attempts, asked.origins)
    person = person_of(path, settings.root, settings.fair_by, owner)
    return ranked(replace(job, person=person, expected_s=expected_s(path, fingerprint.size_bytes)))


def told_settings(options: Mapping[str, object], origins: Mapping[str, object]) -> list[str]:
    """*options* as people read them, those that are no defaults first, each with where it comes from."""
    named = [key for key in options if key in origins] + [key for key in options if key not in origins]
    words = {
        key: f" ({origins.get(key, 'default')})" if origins else "" for key in named
    }  # of old jobs it is not known
    return [f"{key} = {_as_toml(options[key])}{words[key]}" for key in named]


def _as_toml(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def around(root: bytes, folder: bytes) -> Iterator[bytes]:
    """*folder* and all around it up to *root*."""
    while folder != root and folder.startswith(root + b"/"):
        yield folder
        folder = os.path.dirname(folder)
    if folder == root:
        yield root


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of the files: the settings of all folders, the values taken, and the mistakes, by folder."""

    settings: FolderSettings
    good: Mapping[bytes, Values]
    mistakes: Mapping[bytes, tuple[Mistake, ...]]


def resolve(inbox: InboxConfig, files: Mapping[bytes, Said | Mistaken], last_good: Mapping[bytes, Values]) -> Resolved:
    """The settings with *files* in these folders; of a file with a mistake, what it last said without one."""
    limits = Limits.of(inbox)
    effective: dict[bytes, Effective] = {}
    settings = FolderSettings(os.fsencode(inbox.path), of_inbox(inbox), effective, inbox.fair_by)
    good: dict[bytes, Values] = {}
    mistakes: dict[bytes, tuple[Mistake, ...]] = {}
    for folder in sorted(files, key=lambda folder: folder.count(b"/")):  # what is around comes first
        above = settings.of(os.path.dirname(folder)) if folder != settings.root else settings.above
        said = files[folder]
        try:
            if isinstance(said, Mistaken):
                raise said
            good[folder] = check(said, above.values, limits)
        except Mistaken as error:
            mistakes[folder] = error.mistakes
            if folder in last_good and (before := still_good(last_good[folder], above.values, limits)) is not None:
                good[folder] = before
        if folder in good:
            effective[folder] = above.under(folder, good[folder])
    return Resolved(settings, good, mistakes)


def still_good(values: Values, above: Values, limits: Limits) -> Values | None:
    """*values* of earlier, less what may not be set any more; None where they do not fit what is around them now."""
    allowed = {key: value for key, value in values.items() if _refused(key, value, limits) is None}
    try:
        return check(Said(allowed), above, limits)
    except Mistaken:
        return None
