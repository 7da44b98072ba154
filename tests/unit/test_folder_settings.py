"""What the files of settings in the folders of an inbox mean: pure, so every case is a call."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import InboxConfig
from daemon.config.folders import FolderConfig
from daemon.config.schema import MAY_SET
from daemon.intake.folder_settings import (
    CONFIGURATION,
    MOST_BYTES,
    Effective,
    Limits,
    Resolved,
    Said,
    check,
    new_job,
    of_inbox,
    parse,
    resolve,
    told_settings,
)
from daemon.intake.settings_mistakes import Mistake, Mistaken, note_of
from daemon.words import LANGUAGES, Language, catalogue
from storage.records import Fingerprint

ROOT = b"/srv/inbox"
ANNA = b"/srv/inbox/anna"
ANNAS_FILE = "/srv/inbox/anna/transcribed.toml"


def inbox(**keys: Any) -> InboxConfig:
    return InboxConfig.model_validate({"path": Path("/srv/inbox")} | keys)


def resolved(files: dict[bytes, str], last_good: dict[bytes, Any] | None = None, **keys: Any) -> Resolved:
    """What comes of *files*, by folder, in an inbox with *keys*."""
    said: dict[bytes, Said | Mistaken] = {}
    for folder, text in files.items():
        try:
            said[folder] = parse(text.encode())
        except Mistaken as mistaken:
            said[folder] = mistaken
    return resolve(inbox(**keys), said, last_good or {})


def of(files: dict[bytes, str], folder: bytes, **keys: Any) -> Effective:
    found = resolved(files, **keys)
    assert found.mistakes == {}
    return found.settings.of(folder)


def mistakes(text: str, **keys: Any) -> str:
    """What is wrong with *text*, in one line."""
    found = resolved({ANNA: text}, **keys)
    assert found.good == {}
    return "; ".join(mistake.told(catalogue("en")) for mistake in found.mistakes[ANNA])


def test_what_the_nearest_folder_says_counts_key_by_key() -> None:
    """Down to the folder of the recording; a folder with a similar name has nothing of it."""
    files = {
        ROOT: 'language = "de"\nformats = ["txt"]',
        ANNA: 'language = "fr"',
        b"/srv/inbox/anna/x/y": "word_timestamps = true",
    }
    deep = of(files, b"/srv/inbox/anna/x/y/z", hotwords="Özdemir", quality="careful")
    options = deep.options()
    assert [options[key] for key in ("language", "formats", "word_timestamps", "hotwords", "quality", "task")] == [
        "fr",
        ["txt"],
        True,
        "Özdemir",
        "careful",
        "transcribe",
    ]
    assert deep.told_origins() == {
        "language": ANNAS_FILE,
        "formats": "/srv/inbox/transcribed.toml",
        "word_timestamps": "/srv/inbox/anna/x/y/transcribed.toml",
        "hotwords": CONFIGURATION,
        "quality": CONFIGURATION,
    }
    assert of(files, b"/srv/inbox/anna2").options()["language"] == "de"


def test_without_files_the_options_are_those_of_the_inbox() -> None:
    """To the last key: no job looks different for the possibility."""
    config = inbox(language="de", formats=["txt", "srt"], notify=["done"], beam_size=7)
    found = resolve(config, {}, {}).settings.of(b"/srv/inbox/a/b")
    assert found.options() == config.job_options().to_dict()
    assert set(found.told_origins()) == {"language", "formats", "beam_size"}
    assert set(found.told_origins().values()) == {CONFIGURATION}


def test_names_join_the_hotwords() -> None:
    """Whoever lists names does not lose the words that others chose; it is said where both come from."""
    found = of({ANNA: 'names = ["Frau Özdemir", "Kubernetes"]'}, ANNA, hotwords="Budget")
    assert found.options()["hotwords"] == "Budget, Frau Özdemir, Kubernetes"
    assert found.told_origins()["hotwords"] == f"configuration, {ANNAS_FILE}"
    assert of({ANNA: 'names = ["X"]'}, ANNA).options()["hotwords"] == "X"
    assert "names" not in found.options()


def test_a_folder_can_take_back_what_is_said_above() -> None:
    """TOML has no null: a language is detected again with "auto", words are empty."""
    text = 'language = "auto"\nhotwords = ""\ninitial_prompt = ""\nignore = false\nnotify = []'
    found = of({ROOT: 'ignore = ["a*"]', ANNA: text}, ANNA, language="de", hotwords="x", notify_to=["json://localhost"])
    options = found.options()
    assert [options[key] for key in ("language", "hotwords", "initial_prompt", "notify")] == [None, None, None, []]
    assert not found.ignores(ANNA + b"/a.wav")
    job = new_job(ANNA + b"/a.wav", Fingerprint(1, 2, 3, 4, 5), resolve(inbox(), {}, {}).settings, 3)
    assert "notify" not in job.options


def test_the_digest_is_that_of_the_words_alone() -> None:
    """Folders that differ in what files look like, or in who is told, share transcripts; not two languages."""
    settings = resolved(
        {
            ANNA: 'formats = ["txt"]\nnotify = ["done"]',
            b"/srv/inbox/ben": 'language = "de"',
        },
        notify_to=["json://localhost"],
    ).settings
    jobs = [
        new_job(folder + b"/a.wav", Fingerprint(1, 2, 3, 4, 5), settings, 3)
        for folder in (ROOT, ANNA, b"/srv/inbox/ben")
    ]
    assert jobs[0].options_digest == jobs[1].options_digest == inbox().job_options().digest()
    assert jobs[2].options_digest == inbox(language="de").job_options().digest()
    assert [job.origins for job in jobs] == [
        {},
        {"formats": ANNAS_FILE, "notify": ANNAS_FILE},
        {"language": "/srv/inbox/ben/transcribed.toml"},
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('\n\nlangauge = "de"', 'Line 3: langauge = "de": there is no such setting; is language meant?'),
        ('prompt = "x"', "is initial_prompt meant?"),
        ('language = "german"', "must be the code of a language, such as"),
        ("language = de", "Words stand in quotes"),
        ("language = [", "at end of document"),
        ("word_timestamps = 1", "must be true or false"),
        ('formats = ["txt", "pdf"]', '"tsv", "md"'),
        ("formats = []", "at least one must be named"),
        ("beam_size = 20", "this cannot be set in a folder of this inbox"),
        ('path = "/etc"', "there is no such setting"),
        ('model = "/srv/models/x"', "only these are possible: base, small"),
        ('model = "large-v3"', "only these are possible: base, small"),
        ('notify = ["done"]', "nobody is told of the recordings of this inbox"),
        ('notify_to = ["json://evil"]', "there is no such setting"),
        ('priority = "high"', "before everybody else, so it is not for a folder to say"),
        ('priority = "now"', 'only these are possible: "high", "normal", "low"'),
        ("max_in_hand_each = 9", "there is no such setting"),
        ("subtitle_min_s = 8.0", "must not be less than subtitle_min_s, which is 8"),
        ("subtitle_max_s = nan", "must be a number"),
        ('hotwords = "a\\u0000b"', "no control characters may be in it"),
        ('names = ["a\\nb"]', "no line breaks and no control characters"),
        ('names = ["<|nospeech|>"]', "control characters may be in it"),
        ('initial_prompt = "a\\u202eb"', "no control characters may be in it"),
        ('hotwords = "' + "x" * 2001 + '"', "2000 characters at most"),
        ("names = [" + '"x",' * 201 + "]", "200 entries at most"),
        ('names = ["' + "x" * 101 + '"]', "100 characters at most"),
        ("ignore = 1", "must be true, false, or a list"),
        ('ignore = ["../x"]', "must be true, false, or a list"),
        ("[inbox]\npath = '/'", "inbox = {…}: there is no such setting"),
        ("[[inbox]]\npath = '/'", "inbox = […]: there is no such setting"),
    ],
)
def test_a_mistake_is_told_with_its_line_the_value_and_the_rule(text: str, told: str) -> None:
    """Nothing of the file counts then."""
    assert told in mistakes(text, may_set_models=["small"])


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfel\x00",
        b"x" * (MOST_BYTES + 1),
        b"a" + b".a" * 8000 + b" = 1",
        b"[a" + b".a" * 8000 + b"]",
        b"a = " + b"[" * 16_000,
        b"names = " + b"[" * 400 + b"]" * 400,
        b"a = " + b"{a=" * 5000,
        b"beam_size = " + b"9" * 16_000,
        b"\n".join(b'"k%d\\u202e" = 1' % n for n in range(800)),
        b'"' + b"\\u001b[31m" * 500 + b'" = 1',
        b"language = 1979-05-27T07:32:00Z",
        b"# " + b"." * 16_000 + b"\n[[[",
        b'ignore = ["' + b"*" * 90 + b'"]\nx=1',
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_hostile_file_is_refused_quickly_in_few_plain_words(content: bytes) -> None:
    """Whatever is in it, what is told fits a screen and holds nothing that turns, colours or forges a line."""
    began = time.process_time()
    with pytest.raises(Mistaken) as refused:
        check(parse(content), of_inbox(inbox()).values, Limits.of(inbox()))
    assert time.process_time() - began < 0.5
    for language in LANGUAGES:
        told = "".join(mistake.told(catalogue(language)) for mistake in refused.value.mistakes)
        assert told.isprintable()
        assert 5 < len(told) < 4000


def test_a_pattern_that_is_slow_elsewhere_is_quick_here() -> None:
    """Stars do not go back, however many there are."""
    found = of({ANNA: 'ignore = ["' + "*a" * 49 + 'b"]'}, ANNA)
    began = time.process_time()
    assert not found.ignores(ANNA + b"/" + b"a" * 250)
    assert time.process_time() - began < 0.1


TOML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*FolderConfig.model_fields, "x"]), TOML_VALUES, min_size=1, max_size=3))
def test_whatever_a_file_says_it_is_taken_or_refused(table: dict[str, Any]) -> None:
    """There is no third way; what was taken makes a job, and can be taken again from the history."""
    limits = Limits.of(inbox())
    above = of_inbox(inbox())
    try:
        values = check(Said(table), above.values, limits)
    except Mistaken:
        return
    assert set(values) == set(table)
    assert above.under(ANNA, values).options()
    assert check(Said(values), above.values, limits) == values


def test_a_file_with_a_mistake_leaves_what_it_said_before() -> None:
    """For its own folder and those below; a file that never was right leaves what is above it."""
    files = {
        ROOT: 'task = "translate"',
        ANNA: "nonsense",
        b"/srv/inbox/anna/x": 'formats = ["txt"]',
        b"/srv/inbox/b": "x",
    }
    found = resolved(files, {ANNA: {"language": "fr"}})
    assert set(found.mistakes) == {ANNA, b"/srv/inbox/b"}
    below = found.settings.of(b"/srv/inbox/anna/x").options()
    assert (below["task"], below["language"], below["formats"]) == ("translate", "fr", ["txt"])
    assert found.settings.of(b"/srv/inbox/b").options()["language"] is None


def test_what_was_good_counts_as_far_as_it_is_still_allowed() -> None:
    """After a change of may_set, or of what is around it."""
    before = {ANNA: {"language": "fr", "beam_size": 9, "of_a_later_version": 1}}
    found = resolved({ANNA: "nonsense"}, before)
    assert found.good == {ANNA: {"language": "fr"}}
    assert resolved({ANNA: "nonsense"}, before, may_set=["task"]).good == {ANNA: {}}
    long = {ANNA: {"subtitle_min_s": 6.5}}
    assert resolved({ROOT: "subtitle_max_s = 5.0", ANNA: "nonsense"}, long).good == {ROOT: {"subtitle_max_s": 5.0}}


def test_keys_that_belong_together_are_judged_with_what_is_above() -> None:
    """A shortest time that is over the longest of the folder around it is a mistake of the one below."""
    found = resolved({ROOT: "subtitle_max_s = 3.0", ANNA: "subtitle_min_s = 4.0"})
    assert list(found.mistakes) == [ANNA]
    assert resolved({ROOT: "subtitle_max_s = 6.0", ANNA: "subtitle_min_s = 4.0"}).mistakes == {}
    assert resolved({ANNA: "subtitle_max_s = 0.8"}, subtitle_min_s=0.5).mistakes == {}


def test_what_may_be_set_is_for_the_inbox_to_say() -> None:
    """By default all but the width of the beam; the texts of the inbox itself may be longer than a folder's."""
    assert set(FolderConfig.model_fields) - set(MAY_SET) == {"beam_size"}
    assert "cannot be set" in mistakes('language = "de"', may_set=["names"])
    assert of({ANNA: "beam_size = 3"}, ANNA, may_set=["beam_size"]).options()["beam_size"] == 3
    assert of({ANNA: 'task = "translate"'}, ANNA, hotwords="x" * 5000).options()["hotwords"] == "x" * 5000


@pytest.mark.parametrize(
    ("ignore", "path", "ignored"),
    [
        ("true", b"a.wav", True),
        ("true", b"x/y/a.wav", True),
        ("false", b"a.wav", False),
        ("[]", b"a.wav", False),
        ('["*.mp4"]', b"a.mp4", True),
        ('["*.mp4"]', b"x/A.MP4", True),
        ('["*.mp4"]', b"a.mp4.wav", False),
        ('["old *", "x"]', b"Old things/deep/a.wav", True),
        ('["old *", "x"]', b"y/x/a.wav", True),
        ('["?.wav"]', b"ab.wav", False),
        ('["[ab].wav"]', b"b.wav", True),
        ('["*\\u00fc*"]', "über.wav".encode(), True),
        ('["*"]', b"\xff\xfe.wav", True),
    ],
)
def test_what_is_ignored(ignore: str, path: bytes, ignored: bool) -> None:
    """Patterns are of names, of files and folders below the settings; case does not matter, as on a share."""
    found = resolved({ANNA: f"ignore = {ignore}"}).settings
    assert found.of_recording(ANNA + b"/" + path).ignores(ANNA + b"/" + path) is ignored
    assert not found.of_recording(b"/srv/inbox/" + path).ignores(b"/srv/inbox/" + path)


def test_a_folder_that_says_it_may_be_nested_as_deep_as_paths_go() -> None:
    """With a file in each of 1,500 folders, one in the other; nothing is left to recursion."""
    folders = [b"/".join([ROOT, *[b"a"] * depth]) for depth in range(1500)]
    found = resolve(inbox(), {folder: Said({"language": "de"}) for folder in folders}, {})
    assert found.settings.of(folders[-1] + b"/b/c").options()["language"] == "de"


def test_the_note_says_what_is_wrong_what_counts_and_what_is_possible() -> None:
    """In words for whoever only knows the folder."""
    mistake = Mistake("at_most", {"limit": 7}, "subtitle_lines = 9", 3)
    note = note_of([mistake], ["language", "names"], catalogue("en"), before=True)
    assert "\n  Line 3: subtitle_lines = 9: must be 7 at most.\n" in note
    assert "what the file said before still counts" in note
    assert "What can be set: language, names." in note
    assert "the settings of the folder around it" in note_of([], [], catalogue("en"), before=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mistake_has_a_sentence_with_room_for_its_figures(language: Language) -> None:
    """In each language; whatever pydantic says besides is told in its words."""
    for text in (
        "word_timestamps = 1\nhotwords = 2\nformats = 3\nbeam_size = 'x'\nparagraph_pause_s = -1",
        "subtitle_max_s = inf\nsubtitle_lines = 9\nnames = ['']\ntask = 'x'\nsubtitle_min_s = 0.0",
        "subtitle_min_s = 8.0",
        "formats = []\nlanguage = 'x'\nignore = 1",
        "a = 1\nlanguages = 1",
    ):
        found = resolved({ANNA: text}, may_set=list(FolderConfig.model_fields)).mistakes[ANNA]
        assert all("{" not in mistake.told(catalogue(language)) for mistake in found)
        assert len({mistake.line for mistake in found} - {0}) >= len(found) - 1


def test_settings_are_told_with_their_origin_those_that_were_chosen_first() -> None:
    """Of a job from before there were origins nothing is claimed."""
    assert told_settings({"model": "base", "language": None, "task": "translate"}, {"task": "here"}) == [
        'task = "translate" (here)',
        'model = "base" (default)',
        "language = none (default)",
    ]
    assert told_settings({"model": "base"}, {}) == ['model = "base"']


def test_a_folder_may_be_low_and_high_where_the_inbox_says_so() -> None:
    """Whoever puts himself behind the others harms nobody."""
    assert of({ANNA: 'priority = "low"'}, ANNA).options()["priority"] == "low"
    assert of({ANNA: 'priority = "high"'}, ANNA, may_set_high=True).options()["priority"] == "high"
    assert of({ANNA: 'priority = "high"'}, ANNA, priority="high").options()["priority"] == "high"


def test_a_job_knows_its_person_its_length_and_its_priority() -> None:
    """By its folder or its owner, its size, and the settings that hold there."""
    settings = resolved({ANNA: 'priority = "low"'}).settings
    job = new_job(ANNA + b"/deep/a.mp3", Fingerprint(16_000_000, 2, 3, 4, 5), settings, 3, owner=1001)
    assert (job.person, job.priority, job.expected_s) == (ANNA, -1, 1000.0)
    by_owner = resolved({}, fair_by="owner").settings
    assert new_job(ANNA + b"/a.mp3", job.fingerprint, by_owner, 3, owner=1001).person == b"owner:1001"
