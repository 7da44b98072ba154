"""Markdown tables of what was measured. Pure: from results to text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from benchmarks.figures import Spread, paired_ratios, spread
from benchmarks.results import TOTAL, Result, Row
from benchmarks.roster import REFERENCE

_LEFT: Final = ":--"
_RIGHT: Final = "--:"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is aligned left and whose others are aligned right."""
    marks = [_LEFT] + [_RIGHT] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, marks, *lines))


def speed(row: Row, audio_s: float) -> Spread:
    """Seconds of audio for each second of work, over its runs."""
    return spread([audio_s / run.wall_s for run in row.runs])


def ratio(row: Row, reference: Row | None) -> Spread | None:
    """How many times quicker than *reference*, over the rounds; None where there is nothing to compare."""
    if reference is None:
        return None
    ratios = paired_ratios([run.wall_s for run in row.runs], [run.wall_s for run in reference.runs])
    return spread(ratios) if ratios else None


def error_rate(row: Row, language: str = TOTAL) -> float:
    """Errors in percent of the words of *language*."""
    n_errors, n_words = row.counts.get(language, (0, 0))
    return 100.0 * n_errors / max(1, n_words)


def cores_used(row: Row) -> Spread:
    """Processor seconds per second: how many cores were busy on average."""
    return spread([run.cpu_s / run.wall_s for run in row.runs])


def with_spread(values: Spread, digits: int = 1) -> str:
    """The median, and the least and most where there was more than one run."""
    if values.n == 1:
        return f"{values.median:.{digits}f}"
    return f"{values.median:.{digits}f} ({values.least:.{digits}f}-{values.most:.{digits}f})"


def comparison(result: Result) -> str:
    """The table of a match: speed, ratio to the reference, error rate, processor, memory, runs."""
    reference = next((row for row in result.rows if row.name == result.reference), None)
    on_gpu = any(row.gpu_mb is not None for row in result.rows)
    against = "x sequential" if result.reference == REFERENCE else f"x {reference.title if reference else '?'}"
    kept = any(row.kept_percent is not None for row in result.rows)
    header = ["", "x real time", against, "errors % (95 %)", "cores busy", "memory MB"]
    header += [*(["GPU %", "GPU MB"] if on_gpu else []), *(["text kept %"] if kept else []), "runs"]
    lines = [_line(row, reference, result.workload.audio_s, (on_gpu, kept)) for row in result.rows]
    return markdown(header, lines)


def quicker(result: Result, ours: Sequence[str]) -> str:
    """How many times quicker each of *ours* was than everybody else, a line each."""
    mine = [row for row in result.rows if row.name in ours]
    others = [row for row in result.rows if row.name not in ours]
    lines = [[other.title, *(_times(ratio(row, other)) for row in mine)] for other in others]
    return markdown(["times quicker than", *(row.title for row in mine)], lines)


def by_language(result: Result) -> str:
    """Error rates of each language, a column each."""
    languages = sorted({key for row in result.rows for key in row.counts} - {TOTAL})
    lines = [[row.title, *(f"{error_rate(row, language):.1f}" for language in languages)] for row in result.rows]
    return markdown(["errors %", *languages], lines)


def waits(data: Mapping[str, Any]) -> str:
    """The table of a day: how long each kind of recording waited for its text."""
    keys = ("p50_s", "p95_s", "p99_s", "most_s")
    lines = [
        [kind, str(one["n"]), f"{one['audio_s'] / 60:.0f}", *(f"{one[key]:.1f}" for key in keys)]
        for kind, one in data["waits"].items()
    ]
    return markdown(["", "n", "minutes", "p50 s", "p95 s", "p99 s", "most s"], lines)


def lengths(data: Mapping[str, Any]) -> str:
    """The table of memory over the length of a recording."""
    keys = ("decode_mb", "loaded_mb", "engine_mb", "decode_s", "engine_s", "n_segments")
    lines = [[f"{one['audio_s'] / 60:.0f}", *(f"{one[key]:.0f}" for key in keys)] for one in data["lengths"]]
    return markdown(
        ["minutes", "decoder MB", "engine loaded MB", "engine MB", "decoder s", "engine s", "segments"], lines
    )


def scale(data: Mapping[str, Any]) -> Iterator[str]:
    """A table for each group of figures about very many recordings."""
    for group, figures in groupby(data["figures"], key=lambda one: str(one["group"])):
        lines = [
            [one["what"], _digits(one["value"]), _digits(one["most"]), f"{one['limit'] or '-'}", one["unit"]]
            for one in figures
        ]
        yield markdown([group, "middle", "most", "limit", ""], lines)


def settings(result: Result) -> str:
    """What each row ran with, and what makes it unequal."""
    lines = [f"- {row.title}: {_settings(row.settings)}" + _unequal(row) for row in result.rows]
    return "\n".join(lines)


def not_run(result: Result) -> str:
    """Who is missing, and why; empty if nobody is."""
    return "\n".join(f"- {one.title}: not run: {one.reason}" for one in result.not_run)


def _line(row: Row, reference: Row | None, audio_s: float, extra: tuple[bool, bool]) -> list[str]:
    on_gpu, kept = extra
    against = ratio(row, reference)
    errors = f"{error_rate(row):.2f} ({row.wer_low:.1f}-{row.wer_high:.1f})"
    cells = [row.title + (" *" if row.unequal else ""), with_spread(speed(row, audio_s))]
    cells += [with_spread(against, 2) if against else "-", errors, f"{cores_used(row).median:.2f}"]
    cells.append(f"{row.peak_mb:.0f}")
    if on_gpu:
        uses = [run.gpu_percent for run in row.runs if run.gpu_percent is not None]
        cells += [f"{spread(uses).median:.0f}" if uses else "-", f"{row.gpu_mb:.0f}" if row.gpu_mb else "-"]
    if kept:
        cells.append("-" if row.kept_percent is None else f"{row.kept_percent:.1f}")
    return [*cells, str(len(row.runs))]


def _times(found: Spread | None) -> str:
    return with_spread(found) if found else "-"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _settings(values: Any) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _unequal(row: Row) -> str:
    return f" (* unequal: {row.unequal})" if row.unequal else ""


def fairness(data: Mapping[str, Any]) -> str:
    """How long each person waited, for each way to serve them."""
    ways: Mapping[str, Mapping[str, Mapping[str, float]]] = data["waits"]
    header = ["minutes: median / 95 % / most", *(f"{name}" for name in ways)]
    groups = list(list(ways.values())[-1])
    lines = [[_waited(group, ways), *(_minutes(ways[name][group]) for name in ways)] for group in groups]
    return markdown(header, lines)


def _waited(group: str, ways: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    n = next(iter(ways.values()))[group]["n"]
    return f"{group} ({n:.0f})"


def _minutes(one: Mapping[str, float]) -> str:
    return " / ".join(f"{one[key] / 60:.1f}" for key in ("median_s", "p95_s", "most_s"))


def viewers(data: Mapping[str, Any]) -> str:
    """The speed of each pair of rounds, without and with people who look, and the processor time of our processes."""
    lines = [_pair(number, one["alone"], one["looked_at"]) for number, one in enumerate(data["pairs"], 1)]
    header = ["pair", "alone, x real time", "looked at", "ratio", "processor s: alone", "looked at", "ratio"]
    return markdown([*header, "page ms, 95 %", "others' cores"], lines)


def _pair(number: int, alone: Mapping[str, float], looked: Mapping[str, float]) -> list[str]:
    both = (alone, looked)
    speeds, spent = ([one["speed"] for one in both], [one["daemon_cpu_s"] + one["engine_cpu_s"] for one in both])
    others = f"{alone['others_cores']:.2f}, {looked['others_cores']:.2f}"
    return [
        str(number),
        *(f"{speed:.2f}" for speed in speeds),
        f"{speeds[1] / speeds[0]:.3f}",
        *(f"{one:.1f}" for one in spent),
        f"{spent[1] / spent[0]:.3f}",
        f"{looked['page_ms']:.0f}, {looked['page_p95_ms']:.0f}",
        others,
    ]


def idle(data: Mapping[str, Any]) -> str:
    """What a daemon needs that has nothing to do."""
    lines = [[one["what"], *_rested(one["pss_mb"], one["core_percent"])] for one in data["idle"]]
    opened = [one for one in data["idle"] if one["after_mb"] is not None]
    lines += [
        [f"{one['what']}, once every page was opened", *_rested(one["after_mb"], one["after_core_percent"])]
        for one in opened
    ]
    return markdown(["at rest", "memory MB", "% of a core"], lines)


def _rested(memory_mb: float, core_percent: float) -> tuple[str, str]:
    return f"{memory_mb:.1f}", f"{core_percent:.2f}"
