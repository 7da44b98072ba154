"""The fields of OpenAI's request for a transcription, and what they mean for a job here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeGuard

from daemon.asked import models_of
from daemon.config import Config
from daemon.config.folders import LONGEST_TEXT, is_plain
from daemon.intake.folder_settings import of_inbox
from daemon.options import JobOptions, Task
from daemon.web.api.languages import code_of
from daemon.web.api.openai_errors import Refused

ALIASES: Final = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
"""Names of models that clients ask for by themselves: the model of the first inbox answers."""

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
FORMATS: Final[Sequence[ResponseFormat]] = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for, checked."""

    task: Task = "transcribe"
    model: str = ""
    language: str | None = None
    prompt: str | None = None
    response_format: ResponseFormat = "json"
    granularities: frozenset[str] = frozenset({"segment"})
    stream: bool = False
    speakers: tuple[str, ...] = ()

    @property
    def words(self) -> bool:
        """Whether each word is to have its time."""
        return "word" in self.granularities

    def options(self, config: Config) -> JobOptions:
        """The options of its job: those of the first inbox, but for what is asked for. There are no files."""
        base = of_inbox(config.inbox[0]).options() if config.inbox else config.options.job_options().to_dict()
        first = JobOptions.from_dict(base)
        asked = JobOptions(
            model=first.model,
            quality=first.quality,
            beam_size=first.beam_size,
            task=self.task,
            language=self.language,
            initial_prompt=self.prompt,
            word_timestamps=self.words,
            speakers="auto" if self.response_format == "diarized_json" else "off",
            speaker_names=self.speakers,
            formats=(),
        )
        return asked if self.model in ("", *ALIASES) else replace(asked, model=self.model)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields as they came in, by name; a name with brackets is a list."""

    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, name: str, value: str) -> None:
        """One more."""
        self.values.setdefault(name.removesuffix("[]").partition("[")[0], []).append(value)

    def one(self, name: str) -> str:
        """The value of *name*; empty for none."""
        return (self.values.get(name) or [""])[-1].strip()


def asked_of(fields: Fields, task: Task, config: Config) -> Asked:
    """What *fields* ask for. Raises Refused."""
    response_format = fields.one("response_format") or "json"
    if not _is_format(response_format) or (task == "translate" and response_format == "diarized_json"):
        raise Refused(f"response_format must be one of {', '.join(FORMATS)}", param="response_format")
    _check_temperature(fields.one("temperature"))
    return Asked(
        task=task,
        model=_model(fields.one("model"), config),
        language=_language(fields.one("language")) if task == "transcribe" else None,
        prompt=_prompt(fields.one("prompt")),
        response_format=response_format,
        granularities=_granularities(fields.values.get("timestamp_granularities", []), response_format),
        stream=task == "transcribe" and _stream(fields.one("stream"), response_format),
        speakers=_speakers(fields.values.get("known_speaker_names", [])),
    )


def _is_format(name: str) -> TypeGuard[ResponseFormat]:
    return name in FORMATS


def models(config: Config) -> list[str]:
    """The models that may be asked for."""
    return list(dict.fromkeys((*ALIASES[:1], *models_of(config))))


def model_shape(name: str) -> Mapping[str, Any]:
    """A model, as OpenAI lists it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "transcribed"}


def _model(name: str, config: Config) -> str:
    if name and name not in (*ALIASES, *models_of(config)):
        possible = ", ".join(models(config))
        raise Refused(
            f"The model {name[:100]!r} does not exist here; there are {possible}",
            status=404,
            param="model",
            code="model_not_found",
        )
    return name


def _language(language: str) -> str | None:
    if language in ("", "auto"):
        return None
    code = code_of(language)
    if not code:
        raise Refused(
            f"Invalid language {language[:40]!r}: it must be in ISO-639-1 format, such as de", param="language"
        )
    return code


def _prompt(prompt: str) -> str | None:
    plain = " ".join(prompt.split())[-LONGEST_TEXT:]
    if plain and not is_plain(plain):
        raise Refused("prompt must be plain text", param="prompt")
    return plain or None


def _granularities(values: Sequence[str], response_format: str) -> frozenset[str]:
    wanted = frozenset(value.strip() for value in values if value.strip())
    if wanted - {"word", "segment"}:
        raise Refused("timestamp_granularities must be of word and segment", param="timestamp_granularities")
    if wanted and response_format != "verbose_json":
        raise Refused("timestamp_granularities need response_format verbose_json", param="timestamp_granularities")
    return wanted or frozenset({"segment"})


def _check_temperature(value: str) -> None:
    """Refuse what is no temperature; which is used is decided window by window, whatever is asked for."""
    try:
        if value and not 0 <= float(value) <= 1:
            raise ValueError(value)
    except ValueError:
        raise Refused("temperature must be between 0 and 1", param="temperature") from None


def _stream(value: str, response_format: str) -> bool:
    if value.lower() not in ("", "true", "false", "1", "0"):
        raise Refused("stream must be true or false", param="stream")
    return value.lower() in ("true", "1") and response_format in ("json", "text", "diarized_json")


def _speakers(names: Sequence[str]) -> tuple[str, ...]:
    plain = tuple(dict.fromkeys(" ".join(name.split())[:100] for name in names if name.strip()))[:64]
    if not all(is_plain(name) for name in plain):
        raise Refused("known_speaker_names must be plain text", param="known_speaker_names")
    return plain
