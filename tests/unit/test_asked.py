"""What a person asks for one recording: options that are checked, kept apart by their origin, and kept when redone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.asked import REDO, UPLOAD, BadChoice, checked, chosen_before, models_of, with_choices
from daemon.config import Config, InboxConfig
from daemon.options import JobOptions
from daemon.redo import Wish, redo
from storage.jobs import JobStore
from storage.records import Fingerprint, JobState, NewJob
from tests.unit.history import AT, days

INBOX = Path("/srv/inbox")
CONFIG = Config(state_dir=Path("/srv/state"), inbox=(InboxConfig(path=INBOX, model="base", may_set_models=("tiny",)),))


def job(**options: Any) -> NewJob:
    """A job with these options."""
    asked = JobOptions(**options)
    return NewJob(b"/srv/inbox/a.wav", b"/srv/inbox", Fingerprint(1, 2, 3, 4, 5), asked.to_dict(), asked.digest())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore.open(tmp_path / "jobs.db", "me")
    yield store
    store.close()


def test_choices_are_checked_as_settings_of_a_folder_are() -> None:
    """What an operator could configure passes; ``auto`` gives a language back to detection."""
    wanted = {"language": "auto", "task": "translate", "model": "tiny", "formats": ["txt"]}
    assert checked(wanted, CONFIG) == {**wanted, "language": None}
    assert models_of(CONFIG) == ["base", "tiny"]


@pytest.mark.parametrize(
    "choices",
    [
        {"colour": "red"},
        {"language": "xx"},
        {"language": 5},
        {"task": "sing"},
        {"model": "/etc/passwd"},
        {"model": "large-v3"},
        {"initial_prompt": "<|endoftext|>"},
        {"hotwords": "a\nb"},
        {"hotwords": "x" * 3000},
        {"beam_size": 1000},
        {"formats": []},
    ],
)
def test_what_no_job_may_have_is_refused(choices: dict[str, object]) -> None:
    """Nothing that steers a model or names a file gets in by an API; the message says which option it is."""
    with pytest.raises(BadChoice) as told:
        checked(choices, CONFIG)
    assert next(iter(choices)) in str(told.value)


def test_a_choice_changes_the_digest_and_says_where_it_comes_from() -> None:
    """Other words are asked for, so an earlier text is not taken for this; the other options stay."""
    before = job(language="en", quality="careful")
    after = with_choices(before, {"language": "de"}, UPLOAD)
    assert (after.options["language"], after.options["quality"]) == ("de", "careful")
    assert after.origins == {"language": UPLOAD}
    assert after.options_digest == JobOptions(language="de", quality="careful").digest()
    assert with_choices(before, {}, UPLOAD) is before


def test_choices_that_do_not_fit_together_are_refused() -> None:
    """As in the configuration."""
    with pytest.raises(BadChoice):
        with_choices(job(subtitle_min_s=5.0), {"subtitle_max_s": 2.0}, REDO)


def test_what_was_chosen_is_told_apart_from_what_is_configured() -> None:
    """Only what a person chose for the recording is."""
    origins = {"language": UPLOAD, "task": REDO, "model": "configuration", "gone": UPLOAD}
    assert chosen_before({"language": "de", "task": "both", "model": "base"}, origins) == {
        UPLOAD: {"language": "de"},
        REDO: {"task": "both"},
    }


def test_who_asked_is_in_the_event(store: JobStore) -> None:
    """Of each thing that a person does with a job; where nobody is named, there is nothing to tell."""
    (job_id,) = store.enqueue([job()], AT, by="anna")
    store.cancel([job_id], AT, by="ben")
    store.retry([job_id], AT, by="cleo")
    store.cancel([job_id], AT)
    by = [(event.kind, event.detail.get("by")) for event in store.events(job_id)]
    assert by == [("queued", "anna"), ("cancelled", "ben"), ("queued", "cleo"), ("cancelled", None)]


def test_a_recording_is_done_again_with_what_is_wanted_now(store: JobStore) -> None:
    """The wish comes before what was chosen at first, which comes before what is configured; who wished is told."""
    first = with_choices(job(language="en"), {"language": "fr", "task": "translate"}, UPLOAD)
    (job_id,) = store.enqueue([first], AT)
    store.cancel([job_id], AT)
    wish = Wish({"language": "de"}, "anna")
    made = redo(store, [job_id], CONFIG.inbox, 3, days(1), wish)
    again = store.job(made[job_id] or 0)
    assert again is not None
    assert (again.state, again.options["language"], again.options["task"]) == (JobState.QUEUED, "de", "translate")
    assert (again.origins["language"], again.origins["task"]) == (REDO, UPLOAD)
    assert store.events(again.id)[0].detail["by"] == "anna"
