"""Configuration: what a valid one becomes, and what exactly is said of a wrong one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from daemon.config import (
    AlertsConfig,
    CanaryConfig,
    Config,
    DatabaseConfig,
    DecodeConfig,
    EngineConfig,
    HistoryConfig,
    Loaded,
    MonitorConfig,
    OptionsConfig,
    WebConfig,
    load,
)
from daemon.errors import ConfigError
from daemon.options import JobOptions

Write = Callable[[str], Path]

LOADER = importlib.import_module("daemon.config.load")  # the package has a function of that name


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "transcribed.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without a configuration file in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(LOADER, "SYSTEM_FILE", tmp_path / "no-system-file")
    return folder


def refused(file: Path | None, environment: Mapping[str, str] | None = None, *, require_inbox: bool = False) -> str:
    """The message with which this configuration is refused."""
    with pytest.raises(ConfigError) as error:
        load(file, environment or {}, require_inbox=require_inbox)
    return str(error.value)


# Valid ones


def test_without_anything_there_are_defaults(elsewhere: Path) -> None:
    """No file, no variable: nothing has an origin, and no folder is watched."""
    loaded = load(None, {})
    assert loaded == Loaded(Config(), None, {})
    assert loaded.config.inbox == ()
    assert loaded.config.options.job_options() == JobOptions()
    assert loaded.config.state_dir == Path.home() / ".local/state/transcribed"
    assert loaded.config.models_dir == loaded.config.state_dir / "models"


def test_every_key_can_be_set_in_the_file(write: Write, tmp_path: Path) -> None:
    """And each has its origin."""
    file = write(
        """
        state_dir = "/var/lib/t"
        log_format = "json"
        log_level = "debug"
        stop_grace_s = 10
        max_attempts = 5
        [options]
        model = "small"
        language = "de"
        task = "translate"
        priority = "low"
        quality = "careful"
        beam_size = 1
        multilingual = true
        hotwords = "Lindenstrasse"
        initial_prompt = "Guten Tag."
        word_timestamps = true
        language_suffix = true
        paragraph_pause_s = 0
        paragraph_times = true
        list_suspects = true
        speakers = "off"
        speaker_names = ["Anna", "Ben"]
        tracks = true
        subtitle_line_chars = 37
        subtitle_line_chars_cjk = 13
        subtitle_lines = 1
        subtitle_min_s = 0.8
        subtitle_max_s = 6.5
        subtitle_chars_per_s = 17
        subtitle_gap_ms = 0
        formats = ["tsv", "txt", "tsv"]
        [engine]
        device = "cuda:1,0"
        compute_type = "int8_float16"
        lanes = 4
        threads = 8
        max_batch = 16
        profile = "throughput"
        max_open = 64
        max_models = 2
        idle_unload_s = 600
        models_dir = "/models"
        allow_download = true
        [decode]
        workers = 3
        max_duration_s = 60
        max_source_bytes = 1000
        max_spool_bytes = 2000
        incomplete_wait_s = 5
        [history]
        reuse = false
        keep_events_days = 400
        keep_versions = 3
        keep_jobs_days = 1000
        [database]
        snapshots = 30
        snapshot_time = "23:59"
        reserve_bytes = 0
        [monitor]
        interval_s = 30
        metrics_max_bytes = 8388608
        json_log = "/var/log/t/metrics.jsonl"
        json_log_max_bytes = 100000
        json_log_files = 2
        [alerts]
        to = ["json://127.0.0.1:9"]
        to_files = ["/etc/t/alerts"]
        min_severity = "critical"
        group_s = 0
        repeat_s = 3600
        quiet_hours = "22:00-06:30"
        [canary]
        interval_s = 0
        deadline_s = 60
        [web]
        listen = "127.0.0.1:8765"
        pages = false
        login = ["password", "proxy"]
        users_file = "who"
        tokens_file = "what"
        proxy_header = "X-User"
        proxy_from = ["socket", "10.0.0.7"]
        proxy_actors = ["anna"]
        hosts = ["texts.example.org"]
        https = true
        [[inbox]]
        path = "/srv/a"
        recursive = false
        watch = "poll"
        settle_s = 0.5
        scan_interval_s = 2
        notify = ["failed"]
        notify_to = ["json://127.0.0.1:9"]
        """
    )
    loaded = load(file, {})
    config = loaded.config
    assert (config.state_dir, config.stop_grace_s, config.max_attempts) == (Path("/var/lib/t"), 10.0, 5)
    assert config.options.formats == ("tsv", "txt")
    assert (config.engine.device, config.models_dir, config.decode.workers) == ("cuda:1,0", Path("/models"), 3)
    (inbox,) = config.inbox
    assert (inbox.path, inbox.recursive, inbox.watch) == (Path("/srv/a"), False, "poll")
    assert (inbox.settle_s, inbox.scan_interval_s) == (0.5, 2.0)
    assert set(loaded.origins.values()) == {f"file {file}"}
    tables: tuple[type[BaseModel], ...] = (
        *(OptionsConfig, EngineConfig, DecodeConfig, HistoryConfig, DatabaseConfig),
        *(MonitorConfig, AlertsConfig, CanaryConfig, WebConfig),
    )
    assert len(loaded.origins) == 5 + sum(len(table.model_fields) for table in tables) - 1 + 7


def test_a_configuration_is_frozen(elsewhere: Path) -> None:
    """Many threads read it."""
    config = load(None, {}).config
    with pytest.raises(ValidationError):
        config.max_attempts = 1


def test_an_inbox_has_the_options_that_it_does_not_set(write: Write) -> None:
    """Its own keys win, one by one; the others come from [options]; a variable for [options] reaches it too."""
    file = write(
        """
        [options]
        language = "de"
        formats = ["txt"]
        hotwords = "eins"
        [[inbox]]
        path = "/srv/a"
        [[inbox]]
        path = "/srv/b"
        language = "fr"
        formats = ["srt", "vtt"]
        """
    )
    first, second = load(
        file, {"TRANSCRIBED_OPTIONS_HOTWORDS": "zwei", "TRANSCRIBED_OPTIONS_BEAM_SIZE": "2"}
    ).config.inbox
    assert first.job_options() == JobOptions(language="de", formats=("txt",), hotwords="zwei", beam_size=2)
    assert second.job_options() == JobOptions(language="fr", formats=("srt", "vtt"), hotwords="zwei", beam_size=2)


def test_paths_in_a_file_are_relative_to_it(write: Write, tmp_path: Path, elsewhere: Path) -> None:
    """Wherever the service is started from; a model is a path only where it is written as one."""
    file = write(
        """
        state_dir = "state"
        [options]
        model = "./models/mine"
        [engine]
        models_dir = "../shared models"
        [[inbox]]
        path = "./in/../inbox"
        model = "large-v3"
        """
    )
    config = load(file, {}).config
    assert config.state_dir == tmp_path / "state"
    assert config.models_dir == tmp_path.parent / "shared models"
    assert config.options.model == str(tmp_path / "models/mine")
    assert config.inbox[0].path == tmp_path / "inbox"
    assert config.inbox[0].model == "large-v3"


def test_the_home_folder_may_be_written_short(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file and in the environment."""
    monkeypatch.setenv("HOME", "/home/somebody")
    file = write('state_dir = "~/state"\n[options]\nmodel = "~/model"')
    config = load(file, {"TRANSCRIBED_INBOX": "~/inbox"}).config
    assert config.state_dir == Path("/home/somebody/state")
    assert config.options.model == "/home/somebody/model"
    assert config.inbox[0].path == Path("/home/somebody/inbox")


def test_the_file_is_found_in_order(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is named, the one in the environment, the one here, the one of the system."""
    order = [tmp_path / "named.toml", tmp_path / "variable.toml", elsewhere / "transcribed.toml", tmp_path / "etc.toml"]
    for number, path in enumerate(order, start=1):
        path.write_text(f"max_attempts = {number}")
    monkeypatch.setattr(LOADER, "SYSTEM_FILE", order[3])
    variable = {"TRANSCRIBED_CONFIG": str(order[1])}
    for number, (file, environment) in enumerate([(order[0], variable), (None, variable), (None, {})], start=1):
        loaded = load(file, environment)
        assert (loaded.config.max_attempts, loaded.file) == (number, order[number - 1])
    order[2].unlink()
    assert load(None, {}).file == order[3]


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    """With a byte order mark and CRLF, as Notepad writes."""
    path = tmp_path / "t.toml"
    path.write_bytes(b"\xef\xbb\xbfmax_attempts = 7\r\n")
    assert load(path, {}).config.max_attempts == 7


# The environment


def test_variables_win_over_the_file_and_say_so(write: Write) -> None:
    """Each kind of value in the form that a shell can give it."""
    file = write('log_level = "debug"\nmax_attempts = 2\n[options]\nlanguage = "de"\n[engine]\nlanes = 3')
    environment = {
        "TRANSCRIBED_MAX_ATTEMPTS": "9",
        "TRANSCRIBED_STOP_GRACE_S": "0.5",
        "TRANSCRIBED_OPTIONS_WORD_TIMESTAMPS": "true",
        "TRANSCRIBED_OPTIONS_FORMATS": "txt, srt,",
        "TRANSCRIBED_OPTIONS_LANGUAGE": "fr",
        "TRANSCRIBED_OPTIONS_HOTWORDS": "true",
        "TRANSCRIBED_OPTIONS_INITIAL_PROMPT": "5",
        "TRANSCRIBED_ENGINE_ALLOW_DOWNLOAD": "false",
        "TRANSCRIBED_DECODE_MAX_SOURCE_BYTES": "1_000",
        "UNRELATED": "x",
    }
    loaded = load(file, environment)
    config = loaded.config
    assert (config.max_attempts, config.stop_grace_s, config.log_level) == (9, 0.5, "debug")
    assert config.options.formats == ("txt", "srt")
    assert (config.options.language, config.options.word_timestamps) == ("fr", True)
    assert (config.options.hotwords, config.options.initial_prompt) == ("true", "5")
    assert (config.engine.lanes, config.engine.allow_download) == (3, False)
    assert config.decode.max_source_bytes == 1000
    assert loaded.origins["max_attempts"] == "environment TRANSCRIBED_MAX_ATTEMPTS"
    assert loaded.origins["options.language"] == "environment TRANSCRIBED_OPTIONS_LANGUAGE"
    assert loaded.origins["log_level"] == f"file {file}"
    assert loaded.origins["engine.lanes"] == f"file {file}"
    assert "decode.workers" not in loaded.origins


def test_paths_in_variables_are_relative_to_the_current_folder(elsewhere: Path) -> None:
    """As for every program; a name of a model stays a name."""
    config = load(
        None,
        {
            "TRANSCRIBED_STATE_DIR": "state",
            "TRANSCRIBED_ENGINE_MODELS_DIR": "../models",
            "TRANSCRIBED_OPTIONS_MODEL": "./mine",
            "TRANSCRIBED_INBOX": "inbox",
        },
    ).config
    assert config.state_dir == elsewhere / "state"
    assert config.models_dir == elsewhere.parent / "models"
    assert config.options.model == str(elsewhere / "mine")
    assert config.inbox[0].path == elsewhere / "inbox"
    assert load(None, {"TRANSCRIBED_OPTIONS_MODEL": "small"}).config.options.model == "small"


def test_several_inboxes_in_one_variable(write: Write) -> None:
    """Separated by colons; they replace those of the file and have the options of [options]."""
    file = write('[options]\nlanguage = "de"\n[[inbox]]\npath = "/srv/old"\nlanguage = "fr"')
    loaded = load(file, {"TRANSCRIBED_INBOX": "/srv/a:/srv/b c:"})
    assert [inbox.path for inbox in loaded.config.inbox] == [Path("/srv/a"), Path("/srv/b c")]
    assert [inbox.language for inbox in loaded.config.inbox] == ["de", "de"]
    assert loaded.origins["inbox[0].path"] == loaded.origins["inbox[1].path"] == "environment TRANSCRIBED_INBOX"
    assert "inbox[0].language" not in loaded.origins


def test_the_state_folder_of_systemd_is_taken_unless_one_is_set(write: Write, elsewhere: Path) -> None:
    """StateDirectory= in the unit is enough; the first of several counts; its origin is named."""
    loaded = load(None, {"STATE_DIRECTORY": "/var/lib/transcribed:/var/lib/more"})
    assert loaded.config.state_dir == Path("/var/lib/transcribed")
    assert loaded.origins["state_dir"] == "environment STATE_DIRECTORY"
    assert load(write('state_dir = "/x"'), {"STATE_DIRECTORY": "/y"}).config.state_dir == Path("/x")
    both = {"STATE_DIRECTORY": "/y", "TRANSCRIBED_STATE_DIR": "/z"}
    assert load(None, both).config.state_dir == Path("/z")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TRANSCRIBED_LOG_LEVLE", "TRANSCRIBED_LOG_LEVEL"),
        ("TRANSCRIBED_INBOXES", "TRANSCRIBED_INBOX"),
        ("TRANSCRIBED_BEAM_SIZE", "TRANSCRIBED_OPTIONS_BEAM_SIZE"),
    ],
)
def test_an_unknown_variable_is_an_error(elsewhere: Path, name: str, nearest: str) -> None:
    """A setting with a typing error would else do nothing, silently."""
    message = refused(None, {name: "debug"})
    assert f"{name}=debug" in message
    assert f"did you mean {nearest}?" in message


def test_a_key_of_an_earlier_version_names_what_is_there_instead(elsewhere: Path) -> None:
    """In a variable as in a file: an upgrade is told what to write."""
    message = refused(None, {"TRANSCRIBED_ENGINE_SLOTS": "2"})
    assert "TRANSCRIBED_ENGINE_SLOTS=2: replaced: lanes" in message
    assert "max_open" in message


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("TRANSCRIBED_MAX_ATTEMPTS", "many", "max_attempts = 'many'"),
        ("TRANSCRIBED_MAX_ATTEMPTS", "2.0", "max_attempts = 2.0"),
        ("TRANSCRIBED_OPTIONS_WORD_TIMESTAMPS", "1", "options.word_timestamps = 1"),
        ("TRANSCRIBED_OPTIONS_WORD_TIMESTAMPS", "yes", "options.word_timestamps = 'yes'"),
        ("TRANSCRIBED_OPTIONS_FORMATS", "", "options.formats = []"),
        ("TRANSCRIBED_OPTIONS_FORMATS", "txt,doc", "options.formats[1] = 'doc'"),
        ("TRANSCRIBED_STATE_DIR", "", "state_dir = ''"),
        ("TRANSCRIBED_STATE_DIR", "~nobody-of-this-name/x", "state_dir = '~nobody-of-this-name/x'"),
    ],
)
def test_a_wrong_value_in_a_variable_names_the_variable(elsewhere: Path, name: str, value: str, part: str) -> None:
    """Key and value as we understood them, and where they come from."""
    message = refused(None, {name: value})
    assert part in message
    assert f"(environment {name})" in message


# Wrong ones


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("max_atempts = 2", ["max_atempts = 2", "no such key", "did you mean max_attempts?"]),
        ("[optionz]\nmodel = 'x'", ["optionz", "no such key", "did you mean options?"]),
        ("[options]\nlanguages = 'de'", ["options.languages = 'de'", "did you mean language?"]),
        ("[engine]\nlane = 2", ["engine.lane = 2", "did you mean lanes?"]),
        ("[[inbox]]\npath = '/a'\nsettle = 2", ["inbox[0].settle = 2", "did you mean settle_s?"]),
        ("metrics_interval_s = 60", ["metrics_interval_s = 60", "interval_s in [monitor]"]),
        ("[monitor.rules.gpu]\nabov = 2", ["monitor.rules.gpu.abov = 2", "did you mean above?"]),
        ("[alerts]\nto_files = [5]", ["alerts.to_files[0] = 5", "must be a path"]),
        ("[alerts]\nquiet_hours = 'night'", ["alerts.quiet_hours = 'night'"]),
        ("[decode]\nzzz = 2", ["decode.zzz = 2", "valid: workers, max_duration_s, max_source_bytes"]),
        ("[[inbox]]\nrecursive = true", ["inbox[0].path", "field required"]),
        ("[inbox]\npath = '/a'", ["inbox", "[[inbox]], with two brackets"]),
        ("max_attempts = '5'", ["max_attempts = '5'", "valid integer"]),
        ("max_attempts = 0", ["max_attempts = 0", "greater than or equal to 1"]),
        ("max_attempts = 101", ["max_attempts = 101", "less than or equal to 100"]),
        ("max_attempts = true", ["max_attempts = True", "valid integer"]),
        ("stop_grace_s = 0", ["stop_grace_s = 0", "greater than 0"]),
        ("stop_grace_s = inf", ["stop_grace_s = inf", "finite"]),
        ("[monitor]\ninterval_s = nan", ["monitor.interval_s = nan"]),
        ("log_level = 'loud'", ["log_level = 'loud'", "'debug', 'info', 'warning' or 'error'"]),
        ("log_format = 'xml'", ["log_format = 'xml'", "'auto', 'plain' or 'json'"]),
        ("state_dir = 5", ["state_dir = 5", "must be a path"]),
        ("state_dir = ''", ["state_dir = ''", "must be a path"]),
        ('state_dir = "/a\\u0000b"', ["state_dir", "must be a path"]),
        ("options = 5", ["options = 5"]),
        ("[options]\nmodel = ''", ["options.model = ''", "at least 1 character"]),
        ("[options]\nmodel = 5", ["options.model = 5", "valid string"]),
        ("[options]\nlanguage = 'german'", ["options.language = 'german'", "language code", "leave it out to detect"]),
        ("[options]\ntask = 'sing'", ["options.task = 'sing'", "'transcribe', 'translate' or 'both'"]),
        ("[options]\nbeam_size = 0", ["options.beam_size = 0"]),
        ("[options]\nbeam_size = 21", ["options.beam_size = 21"]),
        ("[options]\nword_timestamps = 1", ["options.word_timestamps = 1", "boolean"]),
        ("[options]\nformats = []", ["options.formats = []", "at least one of txt, srt"]),
        ("[options]\nformats = ['txt', 'doc']", ["options.formats[1] = 'doc'"]),
        ("[options]\nformats = 'txt'", ["options.formats = 'txt'"]),
        ("[options]\nlanguage_suffix = 'en'", ["options.language_suffix = 'en'", "boolean"]),
        ("[[inbox]]\npath = '/i'\nmay_set = ['path']", ["inbox[0].may_set", "path is no setting of a folder"]),
        ("[[inbox]]\npath = '/i'\nmay_set = 'all'", ["inbox[0].may_set = 'all'"]),
        ("[options]\nparagraph_pause_s = -1", ["options.paragraph_pause_s = -1"]),
        ("[options]\nsubtitle_line_chars = 8", ["options.subtitle_line_chars = 8", "equal to 16"]),
        ("[options]\nsubtitle_lines = 0", ["options.subtitle_lines = 0"]),
        ("[options]\nsubtitle_chars_per_s = nan", ["options.subtitle_chars_per_s = nan"]),
        ("[options]\nsubtitle_gap_ms = 0.083", ["options.subtitle_gap_ms = 0.083", "integer"]),
        ("[options]\nsubtitle_max_s = 0.5", ["options.subtitle_max_s = 0.5", "less than subtitle_min_s, which is 1"]),
        ("[engine]\ndevice = 'gpu'", ["engine.device = 'gpu'", "must be auto, cpu, cuda"]),
        ("[engine]\ncompute_type = 'Int 8'", ["engine.compute_type = 'Int 8'"]),
        ("[engine]\nmax_open = 0", ["engine.max_open = 0"]),
        ("[engine]\nslots = 2", ["engine.slots = 2", "lanes", "max_open"]),
        ('[engine]\ndevice = "cuda:0,0"', ["engine.device", "twice"]),
        ('[engine]\ndevice = "cuda:0;1"', ["engine.device", "cuda:0,1"]),
        ('[options]\nquality = "best"', ["options.quality", "faithful"]),
        ("[engine]\nthreads = -1", ["engine.threads = -1"]),
        ("[engine]\nmodels_dir = 5", ["engine.models_dir", "must be a path"]),
        ("[decode]\nworkers = 65", ["decode.workers = 65"]),
        ("[decode]\nmax_duration_s = -1", ["decode.max_duration_s = -1"]),
        ("[decode]\nmax_source_bytes = 0", ["decode.max_source_bytes = 0"]),
        ("[[inbox]]\npath = '/a'\nwatch = 'never'", ["inbox[0].watch = 'never'", "'auto', 'events' or 'poll'"]),
        ("[[inbox]]\npath = '/a'\nsettle_s = 0", ["inbox[0].settle_s = 0"]),
        ("[[inbox]]\npath = '/a'\nscan_interval_s = '5'", ["inbox[0].scan_interval_s = '5'"]),
        ("[[inbox]]\npath = '/a'\nformats = ['doc']", ["inbox[0].formats[0] = 'doc'"]),
        ("[[inbox]]\npath = '/a'\n[[inbox]]\npath = '/b'\nrecursive = 'no'", ["inbox[1].recursive = 'no'"]),
    ],
)
def test_a_wrong_setting_is_refused_by_key_value_and_rule(write: Write, text: str, parts: list[str]) -> None:
    """Also which file it is in, unless the key is not there at all."""
    file = write(text)
    message = refused(file)
    for part in parts:
        assert part in message
    if "required" not in message and text not in ("[inbox]\npath = '/a'", "[optionz]\nmodel = 'x'"):
        assert f"(file {file})" in message
    assert "\n" not in message


def test_all_mistakes_come_at_once(write: Write) -> None:
    """Up to five, then their number."""
    message = refused(write("max_attempts = 0\nstop_grace_s = 0\n[engine]\nmax_open = 0"))
    for key in ("max_attempts", "stop_grace_s", "engine.max_open"):
        assert key in message
    many = "\n".join(f"wrong{number} = 1" for number in range(8))
    assert refused(write(many)).endswith("; and 3 more")


def test_a_wrong_option_is_named_once_however_many_inboxes_have_it(write: Write) -> None:
    """It was written once."""
    message = refused(write("[options]\nbeam_size = 99\n[[inbox]]\npath = '/a'\n[[inbox]]\npath = '/b'"))
    assert message.count("beam_size") == 1
    assert message.startswith("options.beam_size = 99")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/srv/a", "/srv/a"),
        ("/srv/a", "/srv/a/"),
        ("/srv/a", "/srv/a/b/c"),
        ("/srv/a/b", "/srv/a"),
        ("/srv/x/../a", "/srv/a"),
    ],
)
def test_inboxes_that_share_files_are_refused(write: Write, first: str, second: str) -> None:
    """Both are named; two folders whose names begin alike are fine."""
    message = refused(write(f"[[inbox]]\npath = '{first}'\n[[inbox]]\npath = '{second}'"))
    assert "overlap" in message
    assert "/srv/a" in message
    load(write("[[inbox]]\npath = '/srv/a'\n[[inbox]]\npath = '/srv/ab'"), {})


def test_inboxes_that_share_files_by_way_of_a_link_are_refused(write: Write, tmp_path: Path) -> None:
    """Where the folders are looked at, links are followed."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "sub")
    file = write('[[inbox]]\npath = "real"\n[[inbox]]\npath = "link"')
    assert "overlap once links are followed" in refused(file, require_inbox=True)


@pytest.mark.parametrize("state_dir", ["/srv/inbox", "/srv/inbox/deep/state"])
def test_a_state_folder_inside_an_inbox_is_refused(write: Write, state_dir: str) -> None:
    """Its files would come and go among the recordings."""
    message = refused(write(f"state_dir = '{state_dir}'\n[[inbox]]\npath = '/srv/inbox'"))
    assert state_dir in message
    assert "inside the inbox /srv/inbox" in message


@pytest.mark.parametrize("place", ["spool", "spool/in", "kept", "models"])
def test_an_inbox_among_our_own_files_is_refused(write: Write, place: str) -> None:
    """The spool folder is emptied at every start. Elsewhere in the state folder is fine."""
    message = refused(write(f"state_dir = '/var/lib/t'\n[[inbox]]\npath = '/var/lib/t/{place}'"))
    assert f"/var/lib/t/{place}" in message
    load(write("state_dir = '/var/lib/t'\n[[inbox]]\npath = '/var/lib/t/inbox'"), {})


def test_a_daemon_needs_an_inbox_that_is_there(write: Write, tmp_path: Path, elsewhere: Path) -> None:
    """None at all, one that does not exist, one that is a file: what to do is said each time."""
    assert "no inbox is configured" in refused(None, require_inbox=True)
    assert "TRANSCRIBED_INBOX" in refused(None, require_inbox=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    file = write('[[inbox]]\npath = "there"\n[[inbox]]\npath = "missing"')
    message = refused(file, require_inbox=True)
    assert f"inbox[1].path = '{tmp_path / 'missing'}': does not exist" in message
    file = write('[[inbox]]\npath = "file"')
    assert "is not a folder" in refused(file, require_inbox=True)
    load(file, {})  # the other commands do not need it
    load(write('[[inbox]]\npath = "there"'), {}, require_inbox=True)


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Not a reason to go on with defaults."""
    missing = tmp_path / "missing.toml"
    assert refused(missing) == f"{missing}: no such configuration file"
    assert refused(None, {"TRANSCRIBED_CONFIG": str(missing)}) == f"{missing}: no such configuration file"
    assert "no such configuration file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"a = ", "not valid TOML"), (b"a = 1\na = 2", "not valid TOML"), (b'a = "caf\xe9"', "cannot be read")],
)
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, content: bytes, part: str) -> None:
    """Its name, and what the parser says of it."""
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(f"{path}: {part}")


def test_a_user_without_a_home_folder_is_told_to_name_a_state_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a bare number."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert "state_dir: must be set" in refused(None)
    assert load(None, {"TRANSCRIBED_STATE_DIR": "/x"}).config.state_dir == Path("/x")


def test_wrong_types_in_strange_places_are_no_crash(write: Write) -> None:
    """Whatever TOML allows is refused in words."""
    for text in (
        "inbox = 5",
        "inbox = [5]",
        "inbox = ['/a']",
        "engine = []",
        "options = [1]",
        "state_dir = 2025-01-01",
    ):
        assert refused(write(text))
    variables = {"TRANSCRIBED_OPTIONS_LANGUAGE": "de", "TRANSCRIBED_ENGINE_LANES": "2"}
    assert "options = 5" in refused(write("options = 5\nengine = 'x'"), variables)


def test_the_environment_of_the_process_plays_no_part(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is passed in counts, so that a reload sees what the start saw."""
    monkeypatch.setenv("TRANSCRIBED_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("STATE_DIRECTORY", "/nowhere")
    assert load(None, {}) == Loaded(Config(), None, {})
    assert os.environ["STATE_DIRECTORY"] == "/nowhere"
