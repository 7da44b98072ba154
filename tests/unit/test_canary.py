from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import canary
from daemon.canary import BUSY_S, CLIP, WORDS, Canary, inbox_of, varied, wrong_words_ratio
from daemon.config import Config
from daemon.config.schema import CanaryConfig
from daemon.sidecars import Sidecars
from monitor.figures import FIGURES, Key
from storage.jobs import JobStore
from storage.records import Fingerprint, Job, NewJob, Outcome, Output, Result
from tests.recordings import decoding
from tests.unit.history import AT, INBOX, transcribe

INTERVAL_S = 3600.0
DEADLINE_S = 600.0
WRONG = Key("canary_wrong_words_ratio")
OVERDUE = Key("canary_overdue_s")


@dataclass
class Cage:
    """A canary over a real history; what the inbox and the engine do is up to the test."""

    root: Path
    store: JobStore
    now: float = 1000.0
    hindrance: str = ""
    in_hand: set[int] = field(default_factory=set[int])
    n_drops: int = 0
    forgotten: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.folder = self.root / "canary"
        self.folder.mkdir()
        (self.folder / ".transcribed-inbox").touch()
        (self.root / "sidecars").mkdir()
        self.sidecars = Sidecars(self.root / "sidecars")
        self.canary = Canary(
            CanaryConfig(interval_s=INTERVAL_S, deadline_s=DEADLINE_S),
            self.folder,
            self.store,
            self.sidecars,
            started=self.now,
            hindrance=lambda: self.hindrance,
            in_hand=lambda: self.in_hand,
            on_drop=self._dropped,
            on_forget=self.forgotten.append,
        )

    def _dropped(self) -> None:
        self.n_drops += 1

    def step(self, seconds: float = 0.0) -> float:
        """Time passes, the canary looks."""
        self.now += seconds
        return self.canary.step(self.now)

    def clips(self) -> list[Path]:
        """The recordings in its inbox."""
        return sorted(self.folder.glob("*.flac"))

    def claim(self) -> Job:
        """What the inbox and the dispatcher do."""
        (clip,) = self.clips()
        options: dict[str, object] = {"model": "base"}
        inbox = os.fsencode(self.folder)
        self.store.enqueue([NewJob(os.fsencode(clip), inbox, Fingerprint(1, 2, 3, 4, 5), options, "d")], AT)
        job = self.store.claim(AT)
        assert job is not None
        return job

    def finish(self, job: Job, heard: str) -> None:
        """Its transcript is there."""
        text = Path(os.fsdecode(job.path)).with_suffix(".txt")
        text.write_text(heard)
        output = Output("txt", os.fsencode(text), b"/none", "0" * 64)
        told = Result(Outcome.OK, "", "en", 0.9, "base", "cpu", "int8", 2.0, 1, 17)
        self.store.decoded(job, source_sha256="5" * 64, audio_s=6.0, declared_s=6.0, speech_s=5.0, at=AT)
        self.store.publishing(job, [output], told, AT)
        (self.root / "sidecars" / f"{job.id}.json").write_text("{}")
        self.store.finish(job, told, AT)

    def figures(self) -> Mapping[Key, float]:
        """Without the words."""
        return self.canary.figures()[0]


@pytest.fixture
def cage(tmp_path: Path) -> Iterator[Cage]:
    with closing(JobStore.open(tmp_path / "history.db", "daemon-1")) as store:
        yield Cage(tmp_path, store)


def test_the_clip_is_packaged_and_each_copy_has_bytes_of_its_own(tmp_path: Path) -> None:
    """What is heard is the same; a text that is used again would show nothing."""
    clip = CLIP.read_bytes()
    one, other = varied(clip, b"a" * 16), varied(clip, b"b" * 16)
    assert len({clip, one, other}) == 3
    copy = tmp_path / "copy.flac"
    copy.write_bytes(one)
    with decoding() as decode:
        plain, spans = decode(CLIP)
        assert spans
        assert (decode(copy)[0] == plain).all()


def test_only_flac_can_be_varied() -> None:
    """Anything else would be damaged."""
    with pytest.raises(ValueError, match="FLAC"):
        varied(b"RIFF", b"a")


def test_a_clip_that_ends_with_its_first_block_header_stays_whole() -> None:
    """The mark of the last block moves to the block that is last."""
    alone = b"fLaC" + bytes([0x80, 0, 0, 34]) + bytes(34) + b"sound"
    made = varied(alone, b"salt")
    assert made[4] == 0
    assert made[42] == 0x80 | 2
    assert made.endswith(b"cnrysaltsound")


@pytest.mark.parametrize(
    ("heard", "ratio"),
    [
        ("good morning everyone", 0.0),
        ("Good morning, EVERYONE!", 0.0),
        ("good evening everyone", 1 / 3),
        ("good everyone", 1 / 3),
        ("well good morning everyone", 1 / 3),
        ("", 1.0),
        ("a b c d e f", 2.0),
    ],
)
def test_words_are_compared_as_people_hear_them(heard: str, ratio: float) -> None:
    """Wrong, missing and added ones count; case and punctuation do not."""
    assert wrong_words_ratio("Good morning, everyone.", heard) == pytest.approx(ratio)


def test_a_canary_is_let_go_and_read_and_leaves_nothing(cage: Cage) -> None:
    """Its figures stay; its files, its job and its sidecar do not, and people's are untouched."""
    theirs = transcribe(cage.store, INBOX + b"/a.wav", "words of theirs")
    cage.step(canary.FIRST_S - 1)
    assert cage.n_drops == 0
    cage.step(1)
    assert cage.n_drops == 1
    job = cage.claim()
    assert cage.figures() == {OVERDUE: 0.0}
    cage.finish(job, WORDS)
    cage.step(7.5)
    assert cage.figures() == {
        OVERDUE: 0.0,
        WRONG: 0.0,
        Key("canary_latency_s"): 7.5,
        Key("canary_speed_ratio"): 3.0,
    }
    assert [path.name for path in cage.folder.iterdir()] == [".transcribed-inbox"]
    assert cage.store.job(job.id) is None
    assert cage.sidecars.job_ids() == []
    assert cage.store.job(theirs) is not None
    assert set(FIGURES) >= {key.name for key in cage.figures()}


def test_wrong_words_are_told_with_what_was_heard(cage: Cage) -> None:
    """So the message says at once what is wrong."""
    cage.step(canary.FIRST_S)
    cage.finish(cage.claim(), "thank you for watching")
    cage.step(1)
    figures, words = cage.canary.figures()
    assert figures[WRONG] == pytest.approx(1.0)
    assert words[WRONG] == "heard: thank you for watching"


def test_a_canary_that_fails_has_no_right_word_and_says_why(cage: Cage) -> None:
    """There is no speed of it."""
    cage.step(canary.FIRST_S)
    cage.store.fail(cage.claim(), "the file cannot be decoded", AT)
    cage.step(1)
    figures, words = cage.canary.figures()
    assert figures[WRONG] == 1.0
    assert words[WRONG] == "the canary failed: the file cannot be decoded"
    assert Key("canary_speed_ratio") not in figures
    assert cage.clips() == []


def test_one_that_does_not_come_back_is_overdue_until_it_does(cage: Cage) -> None:
    """It is waited for, however long, and no second one is sent after it."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    cage.step(DEADLINE_S + 60)
    assert cage.figures()[OVERDUE] == 60
    assert cage.canary.figures()[1][OVERDUE] == "its job is running"
    cage.step(2 * INTERVAL_S)
    assert cage.figures()[OVERDUE] == 60 + 2 * INTERVAL_S
    assert cage.n_drops == 1
    cage.finish(job, WORDS)
    cage.step(1)
    assert cage.figures()[OVERDUE] == 0


def test_the_next_one_comes_after_the_interval(cage: Cage) -> None:
    """From the end of the one before."""
    cage.step(canary.FIRST_S)
    cage.finish(cage.claim(), WORDS)
    cage.step(1)
    cage.step(INTERVAL_S - 1)
    assert cage.n_drops == 1
    cage.step(1)
    assert cage.n_drops == 2


def test_it_waits_while_there_is_much_to_do_and_says_so(cage: Cage) -> None:
    """It would only tell how long the queue is."""
    cage.hindrance = "40 recordings are queued"
    cage.step(canary.FIRST_S)
    assert cage.n_drops == 0
    assert cage.canary.status()["waits_for"] == "40 recordings are queued"
    cage.hindrance = ""
    cage.step(BUSY_S)
    assert cage.n_drops == 1
    assert cage.canary.status()["waits_for"] == ""


def test_one_that_was_not_alone_tells_words_and_no_times(cage: Cage) -> None:
    """It shares the machine with what is in hand beside it; who asks for its status is told all the same."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    cage.in_hand |= {job.id, job.id + 1}
    cage.step(1)
    cage.in_hand.clear()
    cage.finish(job, WORDS)
    cage.step(1)
    assert cage.figures() == {OVERDUE: 0.0, WRONG: 0.0}
    assert cage.canary.status()["speed_ratio"] == 3.0


def test_its_own_job_in_hand_is_no_company(cage: Cage) -> None:
    """Its times are told."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    cage.in_hand.add(job.id)
    cage.step(1)
    cage.finish(job, WORDS)
    cage.in_hand.clear()
    cage.step(1)
    assert cage.figures()[Key("canary_speed_ratio")] == 3.0
    assert cage.figures()[Key("canary_latency_s")] == 2.0


def test_a_job_that_is_still_worked_on_is_left_alone(cage: Cage) -> None:
    """Its number may be given to the next job, so nobody may hold it any more."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    cage.in_hand.add(job.id)
    cage.finish(job, WORDS)
    cage.step(1)
    assert cage.store.job(job.id) is not None
    cage.in_hand.clear()
    cage.step(1)
    assert cage.store.job(job.id) is None


def test_whoever_remembers_its_job_forgets_it(cage: Cage) -> None:
    """The next job with its number is not put off for it. Once, before the number can be given to another."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    cage.finish(job, WORDS)
    cage.step(1)
    assert cage.forgotten == [job.id]


@pytest.mark.parametrize("how", ["cancelled", "removed"])
def test_one_that_a_person_ends_is_no_alarm(cage: Cage, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It says nothing of words or speed; the next one comes soon."""
    cage.step(canary.FIRST_S)
    if how == "cancelled":
        cage.store.cancelled(cage.claim(), "a person cancelled it", AT)
    else:
        cage.clips()[0].unlink()
    with caplog.at_level(logging.WARNING):
        cage.step(1)
    assert cage.figures() == {}
    assert cage.clips() == []
    cage.step(BUSY_S)
    assert cage.n_drops == 2


def test_a_folder_that_cannot_be_written_is_no_bug(cage: Cage, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and tried again later."""
    (cage.folder / ".transcribed-inbox").unlink()
    cage.folder.rmdir()
    cage.step(canary.FIRST_S)
    assert "tried again" in caplog.text
    assert "No such file" in cage.canary.status()["waits_for"]
    cage.step(DEADLINE_S + 5)
    assert cage.figures()[OVERDUE] == 5, "one that cannot even be let go is overdue too"
    assert "No such file" in cage.canary.figures()[1][OVERDUE]
    cage.folder.mkdir()
    cage.step(1)
    assert cage.n_drops == 0
    cage.step(BUSY_S)
    assert cage.n_drops == 1
    assert cage.figures()[OVERDUE] == 0
    assert cage.canary.status()["waits_for"] == ""


def test_what_an_earlier_daemon_left_is_cleared(cage: Cage) -> None:
    """Files, the job whatever its state, and its sidecar, which would bring it back."""
    cage.step(canary.FIRST_S)
    job = cage.claim()
    _write_sidecar(cage, job.id, cage.folder)
    (cage.folder / f".{canary.FOLDER}-1.flac.part").touch()
    canary.clear(cage.folder, cage.store, cage.sidecars)
    assert cage.store.job(job.id) is None
    assert cage.sidecars.job_ids() == []
    assert [path.name for path in cage.folder.iterdir()] == [".transcribed-inbox"]


def test_a_sidecar_of_people_stays_though_an_old_history_has_a_canary_of_its_number(cage: Cage) -> None:
    """A snapshot was taken while the canary was on its way; the recording that got its number came after that.

    And a sidecar of a canary goes, though that history never knew of it.
    """
    cage.step(canary.FIRST_S)
    job = cage.claim()
    _write_sidecar(cage, job.id, Path("/in"))
    _write_sidecar(cage, job.id + 7, cage.folder)
    canary.clear(cage.folder, cage.store, cage.sidecars)
    assert cage.store.job(job.id) is None
    assert cage.sidecars.job_ids() == [job.id]


def _write_sidecar(cage: Cage, job_id: int, inbox: Path) -> None:
    content = {"version": 1, "job": {"id": job_id, "inbox": str(inbox)}}
    (cage.root / "sidecars" / f"{job_id}.json").write_text(json.dumps(content))


def test_its_inbox_is_hidden_and_asks_for_what_people_ask_for(tmp_path: Path) -> None:
    """The model of the first inbox, which is loaded; but in English, and without words that were meant for others."""
    config = Config.model_validate(
        {
            "state_dir": tmp_path,
            "inbox": [{"path": tmp_path / "in", "model": "small", "language": "de", "hotwords": "Müller"}],
        }
    )
    inbox = inbox_of(config)
    assert inbox is not None
    assert inbox.path == tmp_path / "canary"
    assert (inbox.model, inbox.language, inbox.hotwords) == ("small", "en", None)


def test_without_an_interval_there_is_none(tmp_path: Path) -> None:
    """``canary.interval_s = 0``."""
    wanted = {"state_dir": tmp_path, "inbox": [{"path": tmp_path / "in"}], "canary": {"interval_s": 0}}
    assert inbox_of(Config.model_validate(wanted)) is None


def test_its_status_is_json(cage: Cage) -> None:
    """How long it is on its way, and how the last one was."""
    cage.step(canary.FIRST_S)
    cage.step(3)
    assert cage.canary.status()["on_its_way_s"] == 3.0
    cage.finish(cage.claim(), WORDS)
    cage.step(1)
    status = cage.canary.status()
    assert status["on_its_way_s"] is None
    assert (status["wrong_words_ratio"], status["latency_s"], status["speed_ratio"]) == (0.0, 4.0, 3.0)
