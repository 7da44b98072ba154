"""The pure parts of the benchmarks: figures, scoring, choice of recordings, tables, results."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import wave
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    ablated_server,
    batch,
    corpus,
    day,
    engine_door,
    fairness,
    figures,
    ladder,
    match,
    pages,
    quant,
    report,
    results,
    roster,
    scale,
    tables,
    viewers,
    wav,
)
from benchmarks.contestants import worker
from benchmarks.contestants.protocol import Heard, Setup, Task, one_by_one
from benchmarks.corpus import Clip
from benchmarks.processes import tree, usage
from benchmarks.results import TOTAL, NotRun, Result, Row, Run, Workload
from benchmarks.scoring import Tally, Told, complaints, errors, normalised, score
from benchmarks.sounds import LENGTH_S, SOUNDS, write_all
from daemon.outputs.kept import Kept, packed
from daemon.web.transcripts import document_of
from storage.records import Fingerprint


def row(name: str, walls: Sequence[float], n_errors: int = 1, **more: Any) -> Row:
    """A row with these walls, of 100 words."""
    runs = tuple(Run(wall, wall * 1.5, wall / 2, wall) for wall in walls)
    counts = {"en": (n_errors, 100), TOTAL: (n_errors, 100)}
    return Row(name, name.title(), {"beam_size": 5}, runs, 1.0, 400.0, counts, 0.0, 3.0, 0, **more)


def result(*rows: Row) -> Result:
    """A result of 60 s of audio."""
    machine = {"cpu": "A", "cores": 2, "memory_gb": 8, "system": "Linux 6.1", "versions": {"python": "3.11"}}
    return Result(
        "memos",
        "2026-01-01",
        "cpu",
        "base",
        machine,
        Workload("own", 3, 60.0, 30.0, ("en",)),
        roster.REFERENCE,
        rows,
        (NotRun("x", "X", "not installed"),),
    )


def clip(name: str, audio_s: float, language: str = "en") -> Clip:
    """A clip that says its name."""
    return Clip(Path(name), language, name, audio_s)


def test_spread_has_middle_least_and_most() -> None:
    """One value is its own middle; with more, the median of all."""
    assert figures.spread([2.0]) == figures.Spread(2.0, 2.0, 2.0, 1)
    assert figures.spread([3.0, 1.0, 2.0]) == figures.Spread(2.0, 1.0, 3.0, 3)


@pytest.mark.parametrize(("percent", "value"), [(0.0, 1.0), (50.0, 2.0), (75.0, 3.0), (95.0, 4.0), (100.0, 4.0)])
def test_percentile_is_a_value_that_was_seen(percent: float, value: float) -> None:
    """Nearest rank: the smallest value that this share of the values does not exceed."""
    assert figures.percentile([4.0, 1.0, 3.0, 2.0], percent) == value


def test_ratios_compare_rounds_that_both_ran() -> None:
    """The third round of the reference has nothing to be compared with."""
    assert figures.paired_ratios([1.0, 2.0], [3.0, 4.0, 5.0]) == [3.0, 2.0]


def test_interval_is_around_the_rate_and_the_same_each_time() -> None:
    """Resampling recordings gives an interval that holds the pooled rate, reproducibly."""
    counts = [(n % 4, 20) for n in range(40)]
    low, high = figures.rate_interval(counts)
    assert low < figures.pooled_rate(counts) < high
    assert figures.rate_interval(counts) == (low, high)
    assert figures.rate_interval([]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Don't STOP - now!", "en", "dont stop now"),
        ("\uff21\uff22 50 %", "en", "ab 50"),
        ("你好\uff0c世界\u3002", "zh", "你 好 世 界"),
        ("Größe", "de", "größe"),
    ],
)
def test_texts_are_compared_without_case_and_punctuation(text: str, language: str, expected: str) -> None:
    """One normaliser for everybody; characters where there are no blanks between words."""
    assert normalised(text, language) == expected


def test_errors_are_pooled_over_words() -> None:
    """A language's rate is all its errors over all its words; an invented text without a reference counts too."""
    told = [Told("en", "one two three", 2.0), Told("en", "four", 1.0), Told("de", "fünf", 1.0)]
    tallies = score(told, ["one two", "four five", "fünf"])
    assert (tallies["en"].n_errors, tallies["en"].n_words, tallies["en"].audio_s) == (2, 4, 3.0)
    assert (tallies["de"].rate, tallies[TOTAL].rate) == (0.0, 40.0)
    assert errors("", "thank you", "en") == (2, 0)


def tally(n_errors: int, audio_s: float) -> Tally:
    """A tally of 1000 words."""
    return Tally([(n_errors, 1000)], audio_s)


def test_the_gate_holds_the_total_and_languages_with_enough_speech() -> None:
    """Over 0.3 points in total, or 1.0 in a language with five minutes, is too much; little speech says nothing."""
    peer = {"en": tally(50, 600.0), "it": tally(50, 60.0), TOTAL: tally(100, 660.0)}
    assert complaints({"en": tally(59, 600.0), "it": tally(90, 60.0), TOTAL: tally(103, 660.0)}, peer) == []
    worse = complaints({"en": tally(61, 600.0), "it": tally(50, 60.0), TOTAL: tally(104, 660.0)}, peer)
    assert [text.split(":")[0] for text in worse] == ["en", TOTAL]


def test_manifest_lines_that_do_not_count_are_left_out(tmp_path: Path) -> None:
    """What has no reference, no language, or is not primary is no clip; an empty reference means: nobody speaks."""
    lines = [
        {"file": "a.wav", "language": "en", "text": "a"},
        {"file": "b.wav", "language": "en", "text": "b", "primary": False, "role": "longform"},
        {"file": "c.wav", "language": None, "text": ""},
        {"file": "d.wav", "language": "de", "text": None},
        {"file": "e.wav", "language": "de", "text": "e"},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert [one.path.name for one in corpus.read(tmp_path)] == ["a.wav", "e.wav"]
    assert [one.path.name for one in corpus.read(tmp_path, ["de"])] == ["e.wav"]
    assert [one.path.name for one in corpus.long_form(tmp_path)] == ["b.wav"]
    assert [path.name for path in corpus.speechless(tmp_path)] == ["c.wav"]


def test_without_a_corpus_the_projects_own_clips_serve() -> None:
    """They have references, and two in which nobody speaks."""
    assert {one.language for one in corpus.read(None)} == {"en", "de", "es"}
    assert {path.name for path in corpus.speechless(None)} == {"silence.flac", "tone.flac"}


def test_memos_are_short_and_a_limit_keeps_all_languages() -> None:
    """Nothing over 40 s; with a limit, languages take turns; the same choice each time."""
    clips = [clip(f"e{n}", 10.0) for n in range(20)] + [clip(f"d{n}", 10.0, "de") for n in range(4)]
    assert len(corpus.memos([*clips, clip("long", 41.0)])) == 24
    chosen = corpus.memos(clips, 60.0)
    assert sorted(one.language for one in chosen) == ["de"] * 3 + ["en"] * 3
    assert corpus.memos(clips, 60.0) == chosen


def write_clip(folder: Path, name: str, audio_s: float, language: str = "en") -> Clip:
    """A clip of a constant level."""
    path = folder / f"{name}.wav"
    wav.write(path, [np.full(int(audio_s * wav.RATE_HZ), 7, np.int16)])
    return Clip(path, language, name, audio_s)


def test_joined_recordings_have_joined_references(tmp_path: Path) -> None:
    """Clips are repeated until the length is reached; every clip is there, with its words, and pauses lie between."""
    made = corpus.joined([write_clip(tmp_path, "one", 1.0), write_clip(tmp_path, "two", 1.0)], tmp_path / "j.wav", 8.0)
    n_clips = len(made.text.split())
    assert made.text.startswith("one two one")
    assert made.audio_s >= 8.0
    assert np.count_nonzero(wav.read(made.path)) == n_clips * wav.RATE_HZ


def test_long_recordings_begin_with_the_language_with_most_speech(tmp_path: Path) -> None:
    """One of each language, and those that are long themselves first."""
    clips = [write_clip(tmp_path, "a", 1.0, "de"), write_clip(tmp_path, "b", 2.0), write_clip(tmp_path, "c", 2.0)]
    whole = write_clip(tmp_path, "whole", 6.0, "fr")
    made = corpus.long_recordings(clips, [whole], tmp_path, min_s=5.0, n_most=3)
    assert [one.language for one in made] == ["fr", "en", "de"]
    assert all(one.audio_s >= 5.0 for one in made)


def test_wav_files_are_what_every_program_reads(tmp_path: Path) -> None:
    """16 kHz, 16 bit, mono, and the samples come back."""
    samples = np.array([0, 1, -32768, 32767], np.int16)
    wav.write(tmp_path / "a.wav", [samples[:2], samples[2:]])
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 4)
    assert wav.read(tmp_path / "a.wav").tolist() == samples.tolist()
    assert wav.read_float(tmp_path / "a.wav").tolist()[2] == -1.0


def test_sounds_without_speech_are_whole_and_not_clipped(tmp_path: Path) -> None:
    """Each lasts as long as it should; all but silence can be heard."""
    for name, path in write_all(tmp_path).items():
        samples = np.abs(wav.read(path).astype(np.int32))
        assert len(samples) == int(LENGTH_S * wav.RATE_HZ)
        assert (int(samples.max()) > 0) is (name != "silence")
        assert samples.max() < 32767
    assert {"silence", "white noise", "music", "tone 440 Hz"} <= SOUNDS.keys()


def test_table_shows_ratio_rate_and_what_is_unequal() -> None:
    """Medians with their spread; the reference is 1.00; a star for a row that is not like for like."""
    found = result(row("ours", [1.0, 2.0]), row(roster.REFERENCE, [10.0, 10.0], 2), row("slow", [20.0], unequal="f32"))
    lines = tables.comparison(found).splitlines()
    assert lines[0].startswith("|  | x real time | x sequential |")
    assert lines[2] == "| Ours | 45.0 (30.0-60.0) | 7.50 (5.00-10.00) | 1.00 (0.0-3.0) | 1.50 | 400 | 2 |"
    assert lines[4].startswith("| Slow * | 3.0 | 0.50 |")
    assert "Slow: beam_size 5 (* unequal: f32)" in tables.settings(found)
    assert tables.not_run(found) == "- X: not run: not installed"
    assert "| Slow | 20.0 |" in tables.quicker(found, ["ours"])


def test_result_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    """JSON and back; floats have four digits."""
    found = result(row("ours", [1.23456789]))
    path = results.save_result(found, tmp_path)
    assert path.name == "memos-cpu.json"
    loaded = results.load_result(path)
    assert loaded.rows[0].runs[0].wall_s == 1.2346
    assert asdict(replace(loaded, rows=())) == asdict(replace(found, rows=()))
    assert results.file_name("memos", "cuda", "/models/large-v3") == "memos-cuda-large-v3.json"


def test_page_shows_wins_and_losses(tmp_path: Path) -> None:
    """Every result has its chapter; who was quicker or better than ours is named in words, and who did not run."""
    better = row("quick", [0.5], 0)
    results.save_result(result(row("ours", [1.0]), row(roster.REFERENCE, [2.0]), better), tmp_path)
    text = report.page(tmp_path, tmp_path, draw=False)
    assert "## Short recordings" in text
    assert "Quicker than Ours: Quick." in text
    assert "Fewer errors than Ours (1.00 %): Quick, 0.00 %." in text
    assert "X: not run: not installed" in text
    assert "2 cores of A, 8 GB; Linux 6.1, python 3.11; 2026-01-01" in text
    assert "![" not in text


def test_the_page_in_the_documents_is_made_from_the_results() -> None:
    """Nobody has edited docs/benchmarks.md by hand, and every result is in it."""
    written = (report.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert written == report.page(results.FOLDER, report.DOCS, draw=False)


@pytest.mark.parametrize("path", sorted(results.FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_results_tell_nothing_of_whoever_measured(path: Path) -> None:
    """No path outside of the project, and small enough to be read."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|mnt|Users)/", text)
    assert len(text) < 40_000


def test_process_tree_counts_this_process() -> None:
    """Our own process has used time and memory."""
    found = usage(os.getpid())
    assert os.getpid() in tree(os.getpid())
    assert found.cpu_s > 0.0
    assert found.peak_mb > 1.0


def test_nobody_runs_twice_and_unknown_names_are_refused() -> None:
    """Names are unique; the reference is among them; what is on request runs only if it is named."""
    names = [entry.name for entry in roster.ALL]
    assert len(set(names)) == len(names)
    assert roster.REFERENCE in names
    assert "whisper-cpp-beam5" not in [entry.name for entry in roster.chosen([])]
    assert [entry.name for entry in roster.chosen(["whisper-cpp-beam5", "ours"])] == ["ours", "whisper-cpp-beam5"]
    with pytest.raises(ValueError, match="nobody"):
        roster.chosen(["nobody"])


class Echo:
    """A contestant that hears the name of the file."""

    def settings(self) -> dict[str, Any]:
        """None to speak of."""
        return {"loud": True}

    def transcribe_all(self, tasks: Sequence[Task]) -> Sequence[Heard]:
        """At once."""
        return one_by_one(tasks, lambda task: f"{task.language} {task.path.name}")

    def close(self) -> None:
        """Nothing to close."""


def test_worker_answers_load_and_tasks(tmp_path: Path) -> None:
    """One line when loaded, one for each command; the setup survives the command line."""
    setup = Setup(tmp_path, tmp_path, "cpu", "int8", 2, {"beam_size": 1})
    assert worker.setup_from_json(worker.setup_to_json(setup)) == setup
    answers = io.StringIO()
    commands = io.StringIO('{"tasks": [["/a/b.wav", "en", 1.0]]}\n')
    worker.serve(lambda _setup: Echo(), setup, commands, answers)
    loaded, heard = (json.loads(line) for line in answers.getvalue().splitlines())
    assert loaded["settings"] == {"loud": True}
    assert heard["heard"][0][0] == "en b.wav"


def test_peer_that_is_not_there_is_listed_with_the_reason(tmp_path: Path) -> None:
    """A missing module, and a missing interpreter: both are named, nobody is left out in silence."""
    setup = Setup(tmp_path, tmp_path, "cpu", "int8", 1)
    plan = match.Plan(setup, "base", repeats=1, peers_python=tmp_path / "bin" / "python", quiet=True)
    entries = [
        roster.Entry("a", "A", "benchmarks.contestants.nobody"),
        roster.Entry("b", "B", "benchmarks.contestants.nobody", own=False),
    ]
    outcome = match.play(entries, [write_clip(tmp_path, "one", 0.1)], plan)
    assert outcome.played == []
    reasons = {one.name: one.reason for one in outcome.not_run}
    assert reasons["a"].startswith("not installed: No module named")
    assert "make bench-setup" in reasons["b"]


def test_contestants_start_without_our_environment() -> None:
    """What tunes a library in our shell does not reach a contestant."""
    kept = match.clean_environment({"PATH": "/bin", "OMP_NUM_THREADS": "1", "CT2_VERBOSE": "3"})
    assert kept["PATH"] == "/bin"
    assert not {"OMP_NUM_THREADS", "CT2_VERBOSE"} & kept.keys()


def test_day_has_bursts_calls_and_a_meeting(tmp_path: Path) -> None:
    """The shares of audio are about kept, arrivals are in order and the same each time, memos come together."""
    clips = [write_clip(tmp_path, f"c{n}", 5.0) for n in range(6)]
    drops = day.trace(clips, tmp_path, length_s=200.0, load=10.0)
    assert [drop.at_s for drop in drops] == sorted(drop.at_s for drop in drops)
    shares = {kind: sum(d.clip.audio_s for d in drops if d.kind == kind) / 2000.0 for kind in (day.MEMO, day.MEETING)}
    assert shares[day.MEMO] == pytest.approx(0.4, abs=0.05)
    assert shares[day.MEETING] == pytest.approx(0.35, abs=0.1)
    memo_times = [drop.at_s for drop in drops if drop.kind == day.MEMO]
    assert len(set(memo_times)) < len(memo_times) / 2
    assert day.trace(clips, tmp_path, length_s=200.0, load=10.0) == drops


def test_waits_are_told_by_kind() -> None:
    """Kinds that did not come are left out."""
    found = [(day.Drop(0.0, day.MEMO, clip("a", 10.0)), seconds) for seconds in (1.0, 2.0, 9.0)]
    told = day.waits(found)
    assert told.keys() == {day.MEMO}
    assert (told[day.MEMO].n, told[day.MEMO].p50_s, told[day.MEMO].most_s) == (3, 2.0, 9.0)


def test_precisions_that_the_device_has_not_are_named() -> None:
    """Every precision is in the table or in the list of those not run."""
    supported = ["float32", "int8"]
    ran = [entry.precision for entry in quant.entries(supported)]
    assert ran == ["float32", "int8"]
    assert {one.name for one in quant.missing(supported, "cpu")} | set(ran) == set(quant.ORDER)


def test_text_that_is_kept_is_measured_against_float32() -> None:
    """One word in four changed: 75 % kept."""
    assert quant.kept_percent(["a b c d"], ["a b c x"], [clip("a", 1.0)]) == 75.0


def test_batch_sweep_says_when_the_engine_has_no_batch_size() -> None:
    """With the setting it is swept; without, recordings at once are, and the row says so."""
    assert batch.entries([1, 8], has_setting=True)[1].options["engine"] == {"max_batch": 8}
    assert "no batch size" in batch.entries([8], has_setting=False)[0].unequal


def test_ladder_turns_on_one_idea_after_the_other() -> None:
    """What is left out shrinks from step to step; the last is our engine as it comes."""
    climbed = [entry for entry in ladder.steps() if entry.module == "benchmarks.contestants.ours"]
    left_out = [len(entry.environment.get("ABLATE", "").split(",")) for entry in climbed]
    assert left_out == sorted(left_out, reverse=True)
    assert dict(climbed[-1].environment) == {}
    assert climbed[-1].options == ladder.steps()[-1].options


@pytest.mark.parametrize("name", sorted(ablated_server.ABLATIONS))
def test_what_the_ladder_leaves_out_can_be_left_out(name: str) -> None:
    """Each name takes an idea out of an engine process that is still one."""
    code = f"from benchmarks import ablated_server as a; a.ABLATIONS[{name!r}](); from daemon.engine import server"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_settings_that_the_engine_has_not_are_refused(tmp_path: Path) -> None:
    """A sweep over something that is not there must not measure nothing."""
    with pytest.raises(engine_door.UnknownSettingError, match="warp"):
        engine_door.engine_settings(engine_door.Wanted("base", tmp_path, engine={"warp": 9}))
    with pytest.raises(engine_door.UnknownSettingError, match="warp"):
        engine_door.job_options(engine_door.Wanted("base", tmp_path, job={"warp": 9}), "en")


def test_nobody_waits_for_an_archive_but_who_dropped_it() -> None:
    """The first hours of the day, with a small archive: each memo is done in a minute, however many come before it."""
    drops = [drop for drop in fairness.day(20.0) if drop.at_s < 2 * 3600.0]
    ways = dict(fairness.simulated(drops, 20.0))
    assert all(len(found) == len(drops) for found in ways.values())
    first, ours = (fairness.table(ways[name]) for name in ("first come", "ours"))
    assert first["all memos"].most_s > 1800.0
    assert ours["all memos"].most_s < 60.0
    assert ours["archive"].most_s < 1.3 * first["archive"].most_s
    assert fairness.day(200.0) == fairness.day(200.0)


def a_round(speed: float, looked: bool) -> viewers.Round:
    """A round of a hundred seconds."""
    return viewers.Round(looked, speed, 100.0, 4.0 if looked else 2.0, 150.0, 0.5, 0.1, 30, 12.0, 40.0)


def test_what_people_cost_is_told_pair_by_pair(tmp_path: Path) -> None:
    """The middle of the ratios, not the ratio of the middles; beside it what a daemon at rest needs."""
    found = [
        (a_round(alone, False), a_round(looked, True)) for alone, looked in ((10.0, 9.9), (20.0, 19.8), (5.0, 6.0))
    ]
    assert viewers.slowdown(found) == pytest.approx(0.01)
    rested = [viewers.Idle(viewers.IDLE[0], 50.0, 0.2), viewers.Idle(viewers.IDLE[2], 75.0, 0.3, 80.0, 0.3)]
    more = {"device": "cpu", "model": "base", "viewers": 5, "jobs": 1000, "transcripts": 10, "every_s": 3.0}
    results.save(viewers.data_of(found, rested, more | {"audio_s": 600.0}), tmp_path / "viewers-cpu.json")
    text = report.page(tmp_path, tmp_path, draw=False)
    assert "it has 0.990 of its speed (0.990 to 1.200 over 3 pairs of rounds)" in text
    assert "The daemon keeps 0.020 cores more busy for it" in text
    assert "| 1 | 10.00 | 9.90 | 0.990 | 152.0 | 154.0 | 1.013 | 12, 40 | 0.10, 0.10 |" in text
    assert "| with the extra, once every page was opened | 80.0 | 0.30 |" in text


def test_rounds_that_were_disturbed_are_made_again() -> None:
    """As long as there is time for it; people come first in every other pair."""
    asked: list[int] = []

    class Disturbed:
        """An office whose first rounds are disturbed."""

        def round(self, n_people: int) -> viewers.Round:
            """One more."""
            asked.append(n_people)
            return replace(a_round(1.0, n_people > 0), others_cores=1.0 if len(asked) < 4 else 0.0)

    found = list(viewers.pairs(Disturbed(), 2, 5, 0.1))  # type: ignore[arg-type]  # as far as it is asked
    assert asked == [5, 0, 0, 5, 5, 0, 0, 5]
    assert [(one.looked, other.looked) for one, other in found] == [(False, True)] * 2


def test_a_late_page_is_named(tmp_path: Path) -> None:
    """Each page has its row, and those over the limit are told."""
    found = [
        scale.figure("pages", "/", [3.0, 4.0, 9.0], "ms", 200.0),
        scale.figure("API", "/slow", [201.0], "ms", 200.0),
    ]
    sizes = {"jobs": 1000, "transcripts": 10, "lines": 3, "device": "cpu", "model": "base"}
    results.save(pages.data_of(found, sizes, 0.5), tmp_path / "pages-cpu.json")
    text = report.page(tmp_path, tmp_path, draw=False)
    assert "Late: /slow." in text
    assert "| / | 4 | 9 | 200.0 | ms |" in text


def test_the_talk_that_is_opened_is_read_by_the_pages() -> None:
    """An hour of words with their times, as the history keeps it."""
    document = document_of(packed(Kept(pages.talk(), Fingerprint(1, 1, 1, 1, 1), "d")))
    assert document is not None
    assert document == pages.talk()
    assert document.transcript.segments[-1].end_s == pages.TALK_S
