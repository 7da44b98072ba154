"""Word error rate of our engine beside faster-whisper's own `transcribe`, and silence, noise, tones and music.

    python -m benchmarks.accuracy [CORPUS] [--languages en,de] [--beam 5] [--quality fast]

Both get the same weights, the same 16 kHz audio and the language, both skip silence (peer: ``vad_filter=True``, beam
5). Ours gets all recordings at once, mixed, and runs with its default options unless told otherwise. Nothing is kept
from an earlier run. How texts are compared stands in `benchmarks.scoring`.

Then sounds without speech are transcribed: each as it is, and, for the record, as if the speech detector had taken
all of it for speech.

Exit status 1 if ours is worse by more than 0.3 points in total, or by more than 1.0 in a language with 5 minutes or
more, or if text was invented where the detector did its part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import corpus, engine_door, machine, match, results, roster, sounds, stage, tables
from benchmarks.corpus import Clip
from benchmarks.match import Played
from benchmarks.results import TOTAL
from benchmarks.scoring import Tally, complaints, score
from benchmarks.stage import Stage
from daemon.errors import RecordingError
from daemon.transcript import Transcript

_LANGUAGES: Final = ("en", "de", None)
"""Asked of each sound: two that are told, and one that is to be found."""


@dataclass(frozen=True, slots=True)
class Invented:
    """Text for a sound without speech."""

    sound: str
    language: str | None
    text: str


def table(ours: dict[str, Tally], peer: dict[str, Tally], speeds: Sequence[str]) -> str:
    """Error rates by language, and the speeds of both in the last line."""
    keys = [*sorted(ours.keys() - {TOTAL}), TOTAL]
    lines = [[key, f"{ours[key].audio_s / 60:.1f}", f"{ours[key].rate:.2f}", f"{peer[key].rate:.2f}"] for key in keys]
    return tables.markdown(["language", "minutes", "ours %", "peer %"], [*lines, ["x real time", "", *speeds]])


def invented(
    paths: Iterable[tuple[str, Path]], transcribe: Callable[[Path, str | None], Transcript]
) -> tuple[int, list[Invented]]:
    """How many were asked, and what text came; all at once. A recording that cannot be read has no text."""

    def hear(question: tuple[str, Path, str | None]) -> Invented | None:
        name, path, language = question
        try:
            found = transcribe(path, language)
        except RecordingError:
            return None
        text = " ".join(segment.text.strip() for segment in found.segments).strip()
        return Invented(name, language, text) if text else None

    questions = [(name, path, language) for name, path in paths for language in _LANGUAGES]
    with ThreadPoolExecutor(engine_door.CROWD) as pool:
        answers = list(pool.map(hear, questions))
    return len(questions), [answer for answer in answers if answer is not None]


def hold(ready: Stage, entry: roster.Entry, arguments: argparse.Namespace) -> list[str]:
    """Both on all recordings; what is worse than it may be."""
    clips = corpus.memos(ready.clips, 60.0 * arguments.minutes) if arguments.minutes else ready.clips
    outcome = match.play([entry, roster.SEQUENTIAL], clips, replace(ready.plan, repeats=1))
    ours, peer = outcome.of(entry.name), outcome.of(roster.REFERENCE)
    if ours is None or peer is None:
        return [f"{one.title}: not run: {one.reason}" for one in outcome.not_run]
    told = [clip.told for clip in clips]
    our_tallies, peer_tallies = score(told, ours.texts[0]), score(told, peer.texts[0])
    speeds = [f"{sum(clip.audio_s for clip in clips) / one.runs[0].wall_s:.1f}" for one in (ours, peer)]
    print(table(our_tallies, peer_tallies, speeds))
    results.save_result(
        ready.result("accuracy", outcome, clips, [match.row(one, clips) for one in outcome.played]), arguments.results
    )
    if arguments.texts:
        arguments.texts.write_text(_texts(clips, (ours, peer)), "utf-8")
    return complaints(our_tallies, peer_tallies)


def listen(ready: Stage, options: dict[str, Any], arguments: argparse.Namespace) -> list[Invented]:
    """Sounds without speech through our engine; what it invented."""
    setup = ready.plan.setup
    wanted = engine_door.Wanted(
        ready.plan.model, setup.weights.parent, setup.device, setup.compute_type, job=options or None
    )
    folder = ready.folder / "sounds"
    folder.mkdir()
    made = list(sounds.write_all(folder).items())
    silent = [(path.name, path) for path in corpus.speechless(arguments.corpus)]
    with contextlib.closing(engine_door.Ours(wanted)) as ours:
        n_asked, found = invented([*made, *silent], ours.transcribe)
        n_forced, forced = invented(made, ours.transcribe_unguarded)
    print(f"sounds without speech: {n_asked} asked, {len(found)} with text")
    print(f"the same with the speech detector overruled: {n_forced} asked, {len(forced)} with text")
    for one in (*found, *forced):
        print(f"  {one.sound} ({one.language or 'language not told'}): {one.text[:100]}")
    results.save(
        {
            "benchmark": "invented",
            "at": results.now(),
            "device": setup.device,
            "model": Path(ready.plan.model).name,
            "machine": machine.describe(setup.device),
            "n_asked": n_asked,
            "n_with_text": len(found),
            "n_asked_overruled": n_forced,
            "n_with_text_overruled": len(forced),
            "sounds": sorted({name for name, _path in made}),
            "overruled": sorted({one.sound for one in forced}),
        },
        arguments.results / results.file_name("invented", setup.device, ready.plan.model),
    )
    return found


def main() -> int:
    """Run both parts; 1 if ours is worse than it may be."""
    parser = stage.parser(__doc__)
    parser.add_argument("--beam", type=int, help="beam size of ours (default: the engine's own)")
    parser.add_argument("--quality", help="quality of ours (default: the engine's own)")
    parser.add_argument("--texts", type=Path, help="write what both heard to this file, as JSON")
    arguments = parser.parse_args()
    asked = {"beam_size": arguments.beam, "quality": arguments.quality}
    options = {name: value for name, value in asked.items() if value is not None}
    entry = replace(roster.OURS, options={"job": options} if options else {})
    with stage.staged(arguments) as ready:
        found = [f"worse than it may be: {text}" for text in hold(ready, entry, arguments)]
        found += [f"invented: {one.sound}: {one.text[:100]}" for one in listen(ready, options, arguments)]
    for complaint in found:
        print(complaint)
    return 1 if found else 0


def _texts(clips: Sequence[Clip], both: Sequence[Played]) -> str:
    heard = [
        {"language": clip.language, "reference": clip.text, **{one.entry.name: one.texts[0][n] for one in both}}
        for n, clip in enumerate(clips)
    ]
    return json.dumps(heard, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    sys.exit(main())
