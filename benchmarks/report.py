"""docs/benchmarks.md and its plots, made from the files in benchmarks/results. Every figure comes from one of them.

    python -m benchmarks.report [--results benchmarks/results] [--docs docs]

Without matplotlib the page keeps the plots that it has.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import plots, results, tables
from benchmarks.figures import spread
from benchmarks.results import Result

DOCS: Final = Path(__file__).parent.parent / "docs"

_HEAD: Final = """\
# Benchmarks

This page is made by `make bench-report` from the files in `benchmarks/results`; every figure is in one of them.

Each contestant runs in a process of its own, with no setting in its environment, on the same weights and the same
16 kHz WAV files, and is told the language. It is loaded and warmed up first. Then the contestants take turns, round by
round, and the tables give the median and, in brackets, the least and the most of the rounds; slow contestants run
once. "x sequential" compares within a round. Whiskers in the plots go from the slowest to the quickest round. Errors
are words wrong, missing or too many (characters for Chinese, Japanese and Korean) in percent of the reference, with the
95 % interval over recordings. Memory is the peak of all processes of a contestant, added up. A star marks a row that is
not like for like; the list under its table says why.

To measure on your machine: `make bench-setup` once, then `make bench-memos CORPUS=folder` and the other targets of
`make help`. A corpus is a folder with a `manifest.jsonl`; without one the clips of the tests are taken, which are few
and easy.
"""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One kind of result: its heading, what it is, and what makes its text and its plots."""

    benchmark: str
    title: str
    about: str
    text: Callable[[dict[str, Any]], Iterator[str]]
    drawn: tuple[tuple[str, Callable[[dict[str, Any], Path], None]], ...] = ()


def match_text(data: dict[str, Any]) -> Iterator[str]:
    """The parts of a match: table, ratios, languages, who is missing, settings."""
    result = _result(data)
    yield tables.comparison(result)
    ours = [row.name for row in result.rows if row.name.startswith("ours")]
    if ours and len(ours) < len(result.rows):
        yield tables.quicker(result, ours)
    if len(result.workload.languages) > 1:
        yield tables.by_language(result)
    yield losses(result, ours)
    yield tables.not_run(result)
    yield tables.settings(result)


def losses(result: Result, ours: list[str]) -> str:
    """In words: who was quicker than ours, and who made fewer errors; empty if nobody."""
    mine = next((row for row in result.rows if row.name in ours), None)
    if mine is None:
        return ""
    others = [row for row in result.rows if row.name not in ours]
    audio_s = result.workload.audio_s
    quicker = [row for row in others if tables.speed(row, audio_s).median > tables.speed(mine, audio_s).median]
    better = [row for row in others if tables.error_rate(row) < tables.error_rate(mine)]
    parts = [f"Quicker than {mine.title}: {row.title}." for row in quicker]
    mine_percent = f"{tables.error_rate(mine):.2f} %"
    parts += [
        f"Fewer errors than {mine.title} ({mine_percent}): {row.title}, {tables.error_rate(row):.2f} %."
        for row in better
    ]
    return "\n".join(f"- {part}" for part in parts)


def day_text(data: dict[str, Any]) -> Iterator[str]:
    """The table of waits, and what the day was."""
    yield (
        f"{data['audio_s'] / 60:.0f} minutes of audio arrived within {data['length_s'] / 60:.0f} minutes, "
        f"{data['load']:g} seconds of audio each second; the last text was there after {data['last_text_s'] / 60:.1f} "
        f"minutes. A memo alone on the idle machine took {data['idle_memo_s']:.1f} s, one dropped while "
        f"a meeting of {data['behind_audio_s'] / 60:.0f} minutes was being transcribed {data['behind_memo_s']:.1f} s. "
        f"Recordings without a text: {data['n_missing']}. Peak memory of all processes: {data['peak_mb']:.0f} MB."
    )
    yield tables.waits(data)


def memory_text(data: dict[str, Any]) -> Iterator[str]:
    """The table of lengths."""
    yield tables.lengths(data)
    yield f"The longest needs {data['more_mb']:.0f} MB more than the shortest, in the process that grew most."


def scale_text(data: dict[str, Any]) -> Iterator[str]:
    """The table of each group of figures, and what was missed."""
    yield (
        f"{data['files']} files dropped at once at a daemon with decoders and an engine that do nothing; a history of "
        f"{data['jobs']} jobs, the newest {data['transcripts']} with {data['lines']} lines of text each. The middle of "
        "some tries, and the most of them. Questions without a limit look at the whole history, such as sums by folder."
    )
    yield from tables.scale(data)
    missed = [one["what"] for one in data["figures"] if one["limit"] is not None and one["value"] > one["limit"]]
    yield f"Over its limit: {'; '.join(missed) or 'nothing'}."


def pages_text(data: dict[str, Any]) -> Iterator[str]:
    """The table of pages, and which were late."""
    late = [one["what"] for one in data["figures"] if one["limit"] is not None and one["value"] > one["limit"]]
    yield (
        f"A history of {data['jobs']} jobs, the newest {data['transcripts']} with {data['lines']} lines of text each, "
        f"the last with an hour of text. Milliseconds from the request to the last byte, the middle and the most of "
        f"{data['times']} times, while the daemon transcribes without rest. Load of the machine before it began: "
        f"{data['load']:.1f}. Late: {'; '.join(late) or 'nothing'}."
    )
    yield from tables.scale(data)


def viewers_text(data: dict[str, Any]) -> Iterator[str]:
    """What the people took of the speed, and what the pages take of a daemon at rest."""
    if data["pairs"]:
        ratios = spread([one["looked_at"]["speed"] / one["alone"]["speed"] for one in data["pairs"]])
        yield (
            f"A daemon with {data['jobs']} jobs of history transcribes the same {data['audio_s'] / 60:.0f} minutes in "
            f"each round; in every second round {data['viewers']} people look, each with the page of what happens open "
            f"and opening another page every {data['every_s']:g} s. Looked at, it has {ratios.median:.3f} of its speed "
            f"({ratios.least:.3f} to {ratios.most:.3f} over {ratios.n} pairs of rounds). {_cores(data)}"
        )
        yield tables.viewers(data)
    if data["idle"]:
        yield (
            "Daemons with an empty history and nothing to do, all at the same time: what the process of the daemon "
            "itself holds (memory that several share is divided among them), and its processor time."
        )
        yield tables.idle(data)


def _cores(data: dict[str, Any]) -> str:
    """What the pages and the programs that stand for people need of the processor."""
    looked, alone = ([one[key] for one in data["pairs"]] for key in ("looked_at", "alone"))
    more = spread([_cores_of(one) - _cores_of(other) for one, other in zip(looked, alone, strict=True)])
    people = spread([one["people_cpu_s"] / one["wall_s"] for one in looked])
    others = spread([one["others_cores"] for one in (*looked, *alone)])
    return (
        f"The daemon keeps {more.median:.3f} cores more busy for it ({more.least:.3f} to {more.most:.3f}), and the "
        f"programs that stand for the people {people.median:.3f} of the same machine, which people do not. Other "
        f"programs kept {others.median:.2f} cores busy meanwhile ({others.least:.2f} to {others.most:.2f})."
    )


def _cores_of(one: Mapping[str, float]) -> float:
    return one["daemon_cpu_s"] / one["wall_s"]


def fairness_text(data: dict[str, Any]) -> Iterator[str]:
    """The table of waits by person."""
    yield (
        f"{data['n_recordings']} recordings: {data['archive_hours']:g} hours of archive in pieces of two hours, "
        f"dropped at half past eight, and {data['other_hours']:.0f} hours of twelve people from eight to six, at "
        f"{data['speed']:g} times real time. Minutes from the drop to the text, without the wait until a file is "
        'still. "First come" does one recording after the other; "by recording" takes the oldest, and the engine turns '
        "from recording to recording; ours turns from person to person. The archive pays for it with "
        f"{_more_minutes(data):.0f} minutes at its end. A full batch takes {data['batch_s']:.1f} s. Against the same "
        f"day without it, the archive delays a memo by {_delays(data, 'memo')}, a call by {_delays(data, 'call')} "
        "(half of them, 95 % of them, the most): whoever comes waits for the batch that runs. Longer waits who "
        "has a longer recording on its way too, since a person has one turn with all of theirs."
    )
    yield tables.fairness(data)


def _delays(data: dict[str, Any], kind: str) -> str:
    one = data["delays"][kind]
    return f"{one['median_s']:.1f}, {one['p95_s']:.1f} and {one['most_s']:.1f} s"


def _more_minutes(data: dict[str, Any]) -> float:
    waits = data["waits"]
    return float(waits["ours"]["archive"]["most_s"] - waits["first come"]["archive"]["most_s"]) / 60


def invented_text(data: dict[str, Any]) -> Iterator[str]:
    """How often text came for sounds without speech."""
    yield (
        f"{data['n_asked']} times a sound without speech was transcribed ({', '.join(data['sounds'])}; and what the "
        f"corpus has): text came {data['n_with_text']} times. With the speech detector overruled, so that the model "
        f"hears all of it: {data['n_with_text_overruled']} of {data['n_asked_overruled']}."
    )


def _on_result(draw: Callable[[Result, Path], None]) -> Callable[[dict[str, Any], Path], None]:
    return lambda data, path: draw(_result(data), path)


_SPEEDS: Final = ("speed", _on_result(plots.speeds))
_POINTS: Final = ("accuracy", _on_result(plots.accuracy_against_speed))

CHAPTERS: Final = (
    Chapter("memos", "Short recordings", "Many recordings of at most 40 s.", match_text, (_SPEEDS, _POINTS)),
    Chapter(
        "long",
        "Long recordings",
        "Recordings of 10 minutes and more, made by joining recordings of one language with pauses.",
        match_text,
        (_SPEEDS, _POINTS),
    ),
    Chapter("accuracy", "Accuracy", "All recordings at once, against one after the other.", match_text),
    Chapter("invented", "Sounds without speech", "", invented_text),
    Chapter(
        "day",
        "An office day",
        "Recordings dropped into the inbox of a running daemon, in bursts. Seconds from the drop to the text file; the "
        "wait until the file is still is in them.",
        day_text,
        (("waits", plots.day),),
    ),
    Chapter(
        "quant",
        "Precisions",
        'Our engine, options as they come. "text kept" is how many of float32\'s words are there too.',
        match_text,
        (("speed", _on_result(plots.precisions)),),
    ),
    Chapter(
        "batch",
        "Batch size",
        "Our engine with each as its largest batch.",
        match_text,
        (("speed", _on_result(plots.batches)),),
    ),
    Chapter("ladder", "What each idea adds", "From the bottom up, each with all before it.", match_text, (_SPEEDS,)),
    Chapter(
        "memory",
        "Memory over length",
        "One recording after the other, each in new processes.",
        memory_text,
        (("peak", plots.lengths),),
    ),
    Chapter("scale", "Very many recordings", "", scale_text),
    Chapter("pages", "The pages over a long history", "", pages_text),
    Chapter("viewers", "What the pages cost", "", viewers_text),
    Chapter(
        "fairness",
        "Who waits for whom",
        "A day that is written down, simulated with the parts of the service that decide who is next.",
        fairness_text,
    ),
)


def page(folder: Path, docs: Path, *, draw: bool) -> str:
    """The whole page; with *draw* the plots are made anew in *docs*/plots. Those that are there are shown."""
    parts = [_HEAD]
    for chapter in CHAPTERS:
        files = sorted(folder.glob(f"{chapter.benchmark}-*.json"))
        if files:
            parts.append(f"## {chapter.title}\n")
        parts += [_section(chapter, path, docs, draw=draw) for path in files]
    return "\n".join(parts)


def _section(chapter: Chapter, path: Path, docs: Path, *, draw: bool) -> str:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    parts = [f"{chapter.about} {_where(data)}".strip()]
    for name, plot in chapter.drawn:
        drawn = docs / "plots" / f"{path.stem}-{name}.svg"
        if draw:
            plot(data, drawn)
        if drawn.exists():
            parts.append(f"![{chapter.title}: {name}](plots/{drawn.name})")
    parts += [part for part in chapter.text(data) if part]
    return "\n\n".join(parts) + "\n"


def _where(data: Mapping[str, Any]) -> str:
    """What was transcribed, with what, when."""
    machine = data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    place = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB"
    if data["device"] != "cpu":
        place = f"{machine.get('gpu', 'a GPU')} with {place}"
    model = f"Model {data['model']}, on" if "model" in data else "On"
    return f"{_what(data)}{model} {place}; {machine['system']}, {versions}; {data['at']}."


def _what(data: Mapping[str, Any]) -> str:
    load = data.get("workload")
    if not load:
        return ""
    return (
        f"{load['n_recordings']} recordings, {load['audio_s'] / 60:.1f} minutes, "
        f"the longest {load['longest_s']:.0f} s, in {', '.join(load['languages'])}. "
    )


def _result(data: dict[str, Any]) -> Result:
    return results.from_dict(data)


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    draw = importlib.util.find_spec("matplotlib") is not None
    if not draw:
        print("matplotlib is not installed: the page keeps the plots that it has", file=sys.stderr)
    text = page(arguments.results, arguments.docs, draw=draw)
    (arguments.docs / "benchmarks.md").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
