"""What a person asks for one recording: options that count for it alone, checked as those of a folder are. Pure.

Who may ask is not known here. The values come from outside, so they may do no more than a folder's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from daemon.config import Config, OptionsConfig
from daemon.config.folders import LONGEST_TEXT, is_plain
from daemon.errors import TranscribedError
from daemon.fairness import ranked
from daemon.options import JobOptions
from storage.records import NewJob

UPLOAD: Final = "upload"
REDO: Final = "redo"

ORIGINS: Final = frozenset({UPLOAD, REDO})
"""Where an option says that it comes from, if a person chose it for this recording: it stays when it is done again."""

Choices = Mapping[str, object]
"""Options by name, as JSON types."""


class BadChoice(TranscribedError):
    """Raised when an option cannot be had; the message says which, and what can."""


def models_of(config: Config) -> list[str]:
    """The models that may be asked for: those that the operator named, the first inbox's first."""
    named = [model for inbox in config.inbox for model in (inbox.model, *inbox.may_set_models)]
    return list(dict.fromkeys(named or [config.options.model]))


def checked(choices: Choices, config: Config) -> Choices:
    """*choices*, each of which a job may have. Raises BadChoice. ``auto`` as a language: it is detected."""
    chosen = dict(choices)
    for key, value in chosen.items():
        if key not in OptionsConfig.model_fields:
            raise BadChoice(f"{key[:100]!r}: there is no such option; docs/configuration.md lists them")
        if not is_plain(value) or (isinstance(value, str) and len(value) > LONGEST_TEXT):
            raise BadChoice(f"{key}: must be plain text of at most {LONGEST_TEXT} characters")
    if chosen.get("language") == "auto":
        chosen["language"] = None
    models = models_of(config)
    if "model" in chosen and chosen["model"] not in models:
        raise BadChoice(f"model: must be one of {', '.join(models)}")
    _validated(chosen)
    return chosen


def _validated(options: Choices) -> OptionsConfig:
    try:
        return OptionsConfig.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "options"
        raise BadChoice(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def with_choices(job: NewJob, choices: Choices, origin: str) -> NewJob:
    """*job* with *choices*, which come from *origin*. Raises BadChoice where they do not fit its other options."""
    if not choices:
        return job
    known = {key: value for key, value in job.options.items() if key in OptionsConfig.model_fields}
    options = _validated(known | dict(choices)).job_options()
    whole: dict[str, object] = dict(job.options) | options.to_dict()
    origins = dict(job.origins) | dict.fromkeys(choices, origin)
    return ranked(replace(job, options=whole, options_digest=JobOptions.from_dict(whole).digest(), origins=origins))


def chosen_before(options: Mapping[str, Any], origins: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """What a person chose for the recording of a job with these *options*: by origin, those choices."""
    found: dict[str, dict[str, object]] = {}
    for key, origin in origins.items():
        if origin in ORIGINS and key in options:
            found.setdefault(str(origin), {})[key] = options[key]
    return found
