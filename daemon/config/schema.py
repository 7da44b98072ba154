"""What can be configured, with the rule and the default of each key. Knows nothing of files or the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from daemon.options import FORMATS, LANGUAGES, Format, JobOptions, Priority, Quality, Speakers, Task
from daemon.words import Language
from monitor.pages.listening import is_this_machine, parse

OWN_FOLDERS = ("spool", "kept", "sidecars", "snapshots", "canary", "uploads", "requests")
"""Folders in the state folder where files come and go."""

DATABASE_NAME = "transcribed.db"
"""The job history in the state folder."""

METRICS_NAME = "metrics.db"
"""The history of figures and alerts in the state folder."""

WatchMode = Literal["auto", "events", "poll"]


def _default_state_dir() -> Path:
    return Path.home() / ".local/state/transcribed"


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("must be a path")
    if not os.path.isabs(value):
        # The loader made absolute what it could.
        raise ValueError("must be an absolute path here; after ~ comes / or the name of a user with a home folder")
    return Path(os.path.normpath(value))


def to_tuple(value: Any) -> Any:
    """*value*, as a tuple if it is a list: TOML has no tuples."""
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # checked next


def _inboxes(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("must be a list: write [[inbox]], with two brackets")  # noqa: TRY004  # for pydantic
    return to_tuple(value)


def check_language(code: str | None) -> str | None:
    """*code*. Raises ValueError for one that Whisper does not know."""
    if code is not None and code not in LANGUAGES:
        raise ValueError("must be a language code that Whisper knows, such as en, de or fr; leave it out to detect")
    return code


def _formats(formats: tuple[Format, ...]) -> tuple[Format, ...]:
    if not formats:
        raise ValueError(f"must name at least one of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(formats))


def _speaker_names(names: tuple[str, ...]) -> tuple[str, ...]:
    joiners = str.maketrans("", "", "\u200c\u200d")  # letters of some scripts hang together by them
    plain = all(
        0 < len(name) <= 100 and name.strip() == name and name.translate(joiners).isprintable() for name in names
    )
    if not plain or len(names) > 64 or len(set(names)) < len(names):
        raise ValueError('must be different names, at most 64 and of 100 characters, such as ["Anna", "Ben"]')
    return names


def _device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?(,cpu)?", device):
        raise ValueError(
            "must be auto, cpu, cuda, or GPUs by number, such as cuda:1 or cuda:0,1, each with ,cpu as the last resort"
        )
    numbers = device.removesuffix(",cpu").partition(":")[2].split(",")
    if len({int(number) for number in numbers if number}) < len(numbers) > 1:
        raise ValueError("names a GPU twice")
    return device


def _listen(text: str) -> str:
    if text:
        parse(text, anywhere=True)  # whether it needs a login is checked with the whole
    return text


def _proxies(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        try:
            network = ipaddress.ip_network(address, strict=False) if address != "socket" else None
        except ValueError:
            raise ValueError(f'{address!r} is neither "socket" nor an address or a network in numbers') from None
        if network is not None and network.prefixlen == 0:
            raise ValueError(f"{address} is everybody: name the addresses of the web server in front alone")
    return addresses


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]+", name):
            raise ValueError(f"{name!r} is no name of a machine: write it without https:// and port")
    return names


def _done_folder(name: str) -> str:
    parts = name.split("/")
    if name.startswith("/"):
        parts = parts[1:]
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts) or name.startswith("~"):
        raise ValueError('must be the name of a folder in the inbox, such as "done", or an absolute path')
    return name


AbsolutePath = Annotated[Path, BeforeValidator(_path)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    # strict: "5" is not a number, 1 is not true; extra=forbid: an unknown key is an error, not a silent nothing.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OptionsConfig(_Table):
    """``[options]``: what is asked of every recording; an inbox may override each key.

    *language_suffix* puts the language into the names (``stem.en.srt``). A pause of *paragraph_pause_s* begins a
    new paragraph, 0: each line is one; *paragraph_times* says when each begins; *list_suspects* adds where to
    listen. *speakers* ``auto``: two channels with a voice each are told apart, and called by *speaker_names*, the left
    one first; with *tracks*, recordings of one talk that differ in a number (``talk-1.wav``, ``talk-2.wav``) have a
    transcript together, besides their own (`daemon.tracks`). The keys of subtitles are the field's rules (Netflix Timed
    Text Style Guide); a character of Chinese, Japanese or Korean counts two, but for *subtitle_line_chars_cjk*, which
    counts those.
    """

    model: Annotated[str, Field(min_length=1)] = "base"
    language: Annotated[str | None, AfterValidator(check_language)] = None
    task: Task = "transcribe"
    quality: Quality = "fast"
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    multilingual: bool = False
    hotwords: str | None = None
    initial_prompt: str | None = None
    word_timestamps: bool = False
    priority: Priority = "normal"
    formats: Annotated[tuple[Format, ...], BeforeValidator(to_tuple), AfterValidator(_formats)] = (
        "txt",
        "srt",
        "vtt",
        "json",
    )
    language_suffix: bool = False
    paragraph_pause_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 2.0
    paragraph_times: bool = False
    list_suspects: bool = False
    speakers: Speakers = "auto"
    speaker_names: Annotated[tuple[str, ...], BeforeValidator(to_tuple), AfterValidator(_speaker_names)] = ()
    tracks: bool = False
    subtitle_line_chars: Annotated[int, Field(ge=16, le=200)] = 42
    subtitle_line_chars_cjk: Annotated[int, Field(ge=8, le=100)] = 16
    subtitle_lines: Annotated[int, Field(ge=1, le=4)] = 2
    subtitle_min_s: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1.0
    subtitle_max_s: Annotated[float, Field(le=60, allow_inf_nan=False, validate_default=True)] = 7.0
    subtitle_chars_per_s: Annotated[float, Field(ge=5, le=100, allow_inf_nan=False)] = 20.0
    subtitle_gap_ms: Annotated[int, Field(ge=0, le=1000)] = 83

    @field_validator("subtitle_max_s")
    @classmethod
    def _longer_than_the_least(cls, longest_s: float, info: ValidationInfo) -> float:
        least_s = info.data.get("subtitle_min_s", 0.0)
        if longest_s < least_s:
            raise ValueError(f"must not be less than subtitle_min_s, which is {least_s:g}")
        return longest_s

    def job_options(self) -> JobOptions:
        """These options as they are stored with a job."""
        return JobOptions(**self.model_dump(include=set(OptionsConfig.model_fields)))


FOLDER_ONLY = ("names", "notify", "ignore")
"""Keys of a folder's settings that are not in ``[options]``."""

MAY_SET = tuple(key for key in (*OptionsConfig.model_fields, *FOLDER_ONLY) if key != "beam_size")
"""What a folder may set unless an inbox says otherwise: nothing that reaches beyond the text of its own recordings.

A beam of twenty holds up everybody else; *quality* does too, but people know what they ask for.
"""


def _folder_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    possible = (*OptionsConfig.model_fields, *FOLDER_ONLY)
    for key in keys:
        if key not in possible:
            raise ValueError(f"{key} is no setting of a folder; possible are {', '.join(possible)}")
    return keys


class InboxConfig(OptionsConfig):
    """``[[inbox]]``: one watched folder; keys of ``[options]`` set here win.

    *settle_s* and *scan_interval_s* None mean: chosen from the filesystem (see daemon/intake/mounts.py). *notify* names
    the ends of jobs of which `notify_to` (as ``alerts.to``; default: that) is told. *may_set* are the keys that
    whoever can write to a folder may set there (`daemon.config.folders`), empty: files of settings are not looked at;
    *may_set_models* the models that may be named there, besides the inbox's own; *may_set_high*: whether a folder may
    give itself the highest priority, which is before everybody else. Persons take turns: *fair_by* says by what they
    are told apart, the folder of the inbox or the owner of the file (as files outside of any folder always are);
    *max_in_hand_each* is how many recordings of one are in hand at once, 0: no limit besides `daemon.fairness`.
    *status_page*: whether people are told
    in the folder how it stands, by a page and by notes beside what failed; *messages* is their language.
    *after_success*: what is done stays, or the recording goes to *done_folder*, alone or with its transcripts, where it
    lies as it lay in the inbox.
    """

    path: AbsolutePath
    recursive: bool = True
    watch: WatchMode = "auto"
    settle_s: Seconds | None = None
    scan_interval_s: Seconds | None = None
    notify: Annotated[tuple[Literal["done", "failed"], ...], BeforeValidator(to_tuple)] = ()
    notify_to: Annotated[tuple[str, ...], BeforeValidator(to_tuple)] = ()
    may_set: Annotated[tuple[str, ...], BeforeValidator(to_tuple), AfterValidator(_folder_keys)] = MAY_SET
    may_set_models: Annotated[tuple[str, ...], BeforeValidator(to_tuple)] = ()
    may_set_high: bool = False
    fair_by: Literal["folder", "owner"] = "folder"
    max_in_hand_each: Annotated[int, Field(ge=0, le=10_000)] = 0
    status_page: bool = True
    messages: Language = "en"
    after_success: Literal["keep", "move_recording", "move_both"] = "keep"
    done_folder: Annotated[str, AfterValidator(_done_folder)] = "done"

    @field_validator("done_folder")
    @classmethod
    def _not_the_inbox(cls, name: str, info: ValidationInfo) -> str:
        inbox = info.data.get("path")
        if inbox is not None and (inbox / name == inbox or inbox / name in inbox.parents):
            raise ValueError("must not be the inbox itself, nor a folder that it is in")
        return name

    @property
    def done_path(self) -> Path | None:
        """Where recordings go once they are done; None where they stay."""
        return None if self.after_success == "keep" else self.path / self.done_folder


class EngineConfig(_Table):
    """``[engine]``: where and how the model runs.

    *lanes* are calls into the model at once, *threads* the CPU threads of all lanes together, *max_batch* the windows
    in one call; 0 leaves each to the engine process, which knows the device. *max_open* recordings are in an engine
    process at once, and *max_models* models on one device; a model without work for *idle_unload_s* is given up, 0
    means never: whoever comes next would wait while it is loaded.
    """

    device: Annotated[str, AfterValidator(_device)] = "auto"
    compute_type: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "auto"
    lanes: Annotated[int, Field(ge=0, le=64)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    max_batch: Annotated[int, Field(ge=0, le=1024)] = 0
    profile: Literal["low", "balanced", "throughput"] = "balanced"
    max_open: Annotated[int, Field(ge=1, le=256)] = 32
    max_models: Annotated[int, Field(ge=1, le=16)] = 1
    idle_unload_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    models_dir: AbsolutePath | None = None
    allow_download: bool = False


class DecodeConfig(_Table):
    """``[decode]``: how many recordings are decoded at once, and the largest that is accepted.

    None is begun while *max_spool_bytes* of decoded audio wait for the model or are in it. A recording that ends too
    early is looked at again until *incomplete_wait_s* after its last change, then taken as it is.
    """

    workers: Annotated[int, Field(ge=1, le=64)] = 2
    max_duration_s: Seconds = 12 * 3600.0
    max_source_bytes: Count = 8 * 1024**3
    max_spool_bytes: Count = 4 * 1024**3
    incomplete_wait_s: Annotated[float, Field(ge=0, le=3600)] = 300.0


class HistoryConfig(_Table):
    """``[history]``: how long what is kept for people to ask about is kept; 0 is for ever.

    With *reuse*, the text of a recording with the same bytes and the same options is used again.
    Events of jobs that ended, *keep_events_days*; the texts of the newest *keep_versions* transcripts of a recording;
    jobs *keep_jobs_days* after their end. The newest job and transcript of a recording that is there always stay.
    """

    reuse: bool = True
    keep_events_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    keep_versions: Annotated[int, Field(ge=0)] = 0
    keep_jobs_days: Annotated[int, Field(ge=0, le=36_500)] = 0


class DatabaseConfig(_Table):
    """``[database]``: what is done so that the database is never the only copy of what it holds.

    Each day at *snapshot_time*, local, a snapshot of it is taken; the newest *snapshots* are kept, 0 means none is
    taken. *reserve_bytes* are set aside for the last writes when the disk is full, 0 means none.
    """

    snapshots: Annotated[int, Field(ge=0, le=1000)] = 7
    snapshot_time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "03:30"
    reserve_bytes: Annotated[int, Field(ge=0, le=1024**3)] = 16 * 1024**2


class RuleConfig(_Table):
    """``[monitor.rules.NAME]``: what is different for that rule, or all of a new one (docs/operations.md).

    Which keys go together is checked by `monitor.rules.loading`, when the rules are made from this.
    """

    enabled: bool = True
    figure: str | None = None
    subject: str | None = None
    above: Annotated[float | None, Field(allow_inf_nan=False)] = None
    below: Annotated[float | None, Field(allow_inf_nan=False)] = None
    clear: Annotated[float | None, Field(allow_inf_nan=False)] = None
    for_s: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    clear_for_s: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    severity: Literal["info", "warning", "critical"] | None = None
    title: str | None = None
    advice: str | None = None


class MonitorConfig(_Table):
    """``[monitor]``: how often figures are sampled, how many are kept, and what is out of order.

    *metrics_max_bytes* is the largest that the file of the samples becomes. With *json_log*, each sample is a line of
    that file too, which is begun anew at *json_log_max_bytes*; *json_log_files* of them are kept.
    """

    interval_s: Annotated[float, Field(ge=1, le=600)] = 10.0
    metrics_max_bytes: Annotated[int, Field(ge=4 * 1024**2)] = 64 * 1024**2
    json_log: AbsolutePath | None = None
    json_log_max_bytes: Annotated[int, Field(ge=64 * 1024)] = 10 * 1024**2
    json_log_files: Annotated[int, Field(ge=1, le=100)] = 5
    rules: dict[str, RuleConfig] = Field(default_factory=dict)

    def changed_rules(self) -> dict[str, dict[str, Any]]:
        """What is said of each rule in *rules*, as `monitor.rules.load` takes it."""
        return {name: rule.model_dump(exclude_unset=True) for name, rule in self.rules.items()}


class AlertsConfig(_Table):
    """``[alerts]``: who is told, of what, and when; the log always is.

    *to* are addresses as Apprise writes them; *to_files* are files with one such address a line, for what must not be
    in the configuration. At most one message goes out in *group_s*; an alert that stays open is told again every
    *repeat_s*, 0 means never. In *quiet_hours*, local time, only critical ones are told.
    """

    to: Annotated[tuple[str, ...], BeforeValidator(to_tuple)] = ()
    to_files: Annotated[tuple[AbsolutePath, ...], BeforeValidator(to_tuple)] = ()
    min_severity: Literal["info", "warning", "critical"] = "warning"
    group_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    repeat_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 86_400.0
    quiet_hours: Annotated[str | None, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")] = None


class CanaryConfig(_Table):
    """``[canary]``: every *interval_s* a known clip goes the way of every recording; 0 means never."""

    interval_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 6 * 3600.0
    deadline_s: Seconds = 900.0


class WebConfig(_Table):
    """``[web]``: where the pages and what monitoring asks for are served, and who may come in.

    *listen* is ``127.0.0.1:8765``, ``[::1]:8765``, or the path of a socket; empty: only on a socket that systemd
    opened. Other addresses need a *login*: by passwords (*users_file*), or by a web server in front, one of
    *proxy_from*, that says in *proxy_header* who asks; those in *proxy_actors* may change things, "*" is everybody.
    Without *pages*, only what monitoring asks for is served. *hosts* are the names, besides those of this machine, by
    which the pages are asked for; *https*: people come by it, through the web server in front.
    """

    listen: Annotated[str, AfterValidator(_listen)] = ""
    pages: bool = True
    login: Annotated[tuple[Literal["password", "proxy"], ...], BeforeValidator(to_tuple)] = ()
    users_file: AbsolutePath | None = None
    tokens_file: AbsolutePath | None = None
    proxy_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] = "X-Remote-User"
    proxy_from: Annotated[tuple[str, ...], BeforeValidator(to_tuple), AfterValidator(_proxies)] = ("socket",)
    proxy_actors: Annotated[tuple[str, ...], BeforeValidator(to_tuple)] = ()
    hosts: Annotated[tuple[str, ...], BeforeValidator(to_tuple), AfterValidator(_hosts)] = ()
    https: bool = False


class Config(_Table):
    """Everything that the service can be told."""

    state_dir: AbsolutePath = Field(default_factory=_default_state_dir)
    log_format: Literal["auto", "plain", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    stop_grace_s: Seconds = 90.0
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    options: OptionsConfig = OptionsConfig()
    engine: EngineConfig = EngineConfig()
    decode: DecodeConfig = DecodeConfig()
    history: HistoryConfig = HistoryConfig()
    database: DatabaseConfig = DatabaseConfig()
    monitor: MonitorConfig = MonitorConfig()
    alerts: AlertsConfig = AlertsConfig()
    canary: CanaryConfig = CanaryConfig()
    web: WebConfig = WebConfig()
    inbox: Annotated[tuple[InboxConfig, ...], BeforeValidator(_inboxes)] = ()

    @model_validator(mode="after")
    def _inboxes_apart(self) -> Self:
        """Two inboxes may not share files: each recording belongs to exactly one."""
        for index, one in enumerate(self.inbox):
            for other in self.inbox[index + 1 :]:
                if one.path == other.path or one.path in other.path.parents or other.path in one.path.parents:
                    raise ValueError(f"inbox: {one.path} and {other.path} overlap; each recording needs one inbox")
        for inbox in self.inbox:
            if self.state_dir == inbox.path or inbox.path in self.state_dir.parents:
                raise ValueError(f"state_dir: {self.state_dir} is inside the inbox {inbox.path}; put it elsewhere")
            _check_done_folder(inbox, self)
            # An inbox elsewhere in the state folder is fine; in these, files come and go as the service needs them.
            for ours in (*(self.state_dir / name for name in OWN_FOLDERS), self.models_dir):
                if ours == inbox.path or ours in inbox.path.parents:
                    raise ValueError(f"inbox: {inbox.path} is in {ours}, where the service keeps files of its own")
        return self

    @model_validator(mode="after")
    def _nobody_without_login(self) -> Self:
        """Whoever could read all transcripts and change things has to say who they are."""
        web = self.web
        if not web.login and web.listen and not is_this_machine(parse(web.listen, anywhere=True)):
            raise ValueError(
                f"web.listen: other machines can reach {web.listen}, and nobody would have to log in; set web.login, "
                "or listen at 127.0.0.1:8765 or the path of a socket"
            )
        if not web.login and web.hosts:
            raise ValueError(
                f"web.hosts: {', '.join(web.hosts)} lets others come in, and nobody would have to log in; set web.login"
            )
        if "proxy" in web.login and not web.proxy_from:
            raise ValueError("web.proxy_from: must name the web server in front, as web.login has proxy")
        return self

    @property
    def users_file(self) -> Path:
        """Who may log in with a password: ``web.users_file``, else a file in the state folder."""
        return self.web.users_file or self.state_dir / "web-users"

    @property
    def tokens_file(self) -> Path:
        """Which programs may with a token: ``web.tokens_file``, else a file in the state folder."""
        return self.web.tokens_file or self.state_dir / "web-tokens"

    @property
    def models_dir(self) -> Path:
        """Where models are kept: ``engine.models_dir``, else a folder in the state folder."""
        return self.engine.models_dir or self.state_dir / "models"


def _check_done_folder(inbox: InboxConfig, config: Config) -> None:
    """What is done does not come in again, by another inbox, nor lies among the service's own files."""
    done = inbox.done_path
    if done is None:
        return
    for other in config.inbox:
        if done == other.path or (other.path in done.parents and other is not inbox) or done in other.path.parents:
            raise ValueError(f"inbox: done_folder {done} and the inbox {other.path} overlap")
    if done == config.state_dir or config.state_dir in done.parents or done in config.state_dir.parents:
        raise ValueError(f"inbox: done_folder {done} and state_dir {config.state_dir} overlap; put one elsewhere")
