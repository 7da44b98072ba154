"""`transcribed metrics` as it is typed: the table, JSON for scripts, and the drawing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.cli import exits, metrics, plotting
from daemon.cli.metrics import Span, matching, summed_up
from daemon.errors import TranscribedError
from monitor.alert import Alert, Judgement
from monitor.figures import FIGURES, Key, Sample
from monitor.history.reading import Point, Series
from monitor.history.store import MetricsHistory

NOW = datetime.now(UTC)
HOSTILE = "/srv/\x1b[2J$x$ \udcff_\n/\u6f22"
PNG = b"\x89PNG\r\n\x1a\n"


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def figures(n: int) -> dict[Key, float]:
    """The figures of the minute *n* before now."""
    return {
        Key("host_cpu_used_ratio"): 0.9 if n == 30 else 0.5,
        Key("host_memory_total_bytes"): 16e9,
        Key("folder_free_bytes", HOSTILE): 1e9 + n * 1e7,
        Key("folder_free_ratio", HOSTILE): n / 100,
        Key("process_rss_bytes", "engine"): 1e9,
        Key("process_written_bytes", "engine"): float((60 - n) * 1000 if n > 20 else (20 - n) * 1000),
        Key("engine_on_spare", "cpu"): float(n % 4 == 0),
        Key("jobs", "queued"): float(n),
        Key("jobs", "done"): 7.0,
        Key("job_overtime_ratio", "17"): 2.0,
        Key("gpu_temperature_celsius", "0"): 60.0 + n / 10,
        Key("recent_speed_ratio"): 9.0,
    }


def alert(title: str, opened: float, resolved: float | None) -> Alert:
    over = ago(resolved) if resolved is not None else None
    return Alert(
        "disk", Key("folder_free_ratio", title), "warning", title, "", "", 0.1, 0.1, 0.1, 0.1, ago(opened), NOW, over
    )


ALERTS = (alert("an old one", 600, 500), alert("the disk fills", 40, None), alert("\x1b[31m$x$", 20, 10))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A machine with an hour of figures and three alerts."""
    (tmp_path / "state").mkdir()
    file = tmp_path / "transcribed.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n[[inbox]]\npath = "{tmp_path}/in"\n', encoding="utf-8")
    with closing(MetricsHistory.open(tmp_path / "state" / "metrics.db", 64 * 1024**2)) as history:
        for n in range(60, 0, -1):
            judged = Judgement(resolved=(ALERTS[0], ALERTS[2]) if n == 1 else (), open=ALERTS[1:2] if n < 40 else ())
            history.add(Sample(ago(n), figures(n), {Key("host_cpu_used_ratio"): "warm"} if n == 30 else {}), judged)
    return file


def rows(shown: str) -> Mapping[tuple[str, str], list[str]]:
    """The cells of the table, by figure and subject."""
    found: dict[tuple[str, str], list[str]] = {}
    name = ""
    for line in shown.splitlines()[1:]:
        head, *cells = re.split(r"\s{2,}", line.rstrip())
        name = head or name
        of = cells.pop(0) if cells and FIGURES[name].subject is not None else ""
        found[name, of] = cells
    return found


def test_the_table_has_last_mean_and_worst(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words for people; the time of the worst where it was not so all the time; of a counter what it grew."""
    assert metrics.run(config, ["host", "engine_on", "process_w", "jobs"], "24h", None, as_json=False) == exits.OK
    shown = rows(capsys.readouterr().out.partition("\nalert ")[0])
    at = f"{ago(30).astimezone():%H:%M}"
    assert shown["host_cpu_used_ratio", ""] == ["50 %", "50.7 %", "90 %", at]
    assert shown["host_memory_total_bytes", ""] == ["16 GB", "16 GB"]
    assert shown["process_written_bytes", "engine"] == ["19 kB", "+58 kB"]
    assert shown["engine_on_spare", "cpu"][:3] == ["no", "25 %", "yes"]
    assert shown["jobs", "done"] == ["7", "7"]
    assert shown["jobs", "queued"][:3] == ["1", "30.5", "60"]


def test_nothing_that_is_told_can_move_the_cursor(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders and titles of alerts are shown with their control characters as numbers."""
    assert metrics.run(config, [], "24h", None, as_json=False) == exits.OK
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown.replace("\n", "").replace(" ", "")
    assert "the disk fills (warning, open)" in shown
    assert "\\x1b[31m$x$ (resolved)" in shown


def test_figures_of_jobs_are_for_who_asks(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There may be thousands in six hours."""
    metrics.run(config, [], "24h", None, as_json=False)
    assert "job_overtime_ratio" not in capsys.readouterr().out
    metrics.run(config, ["job_over"], "24h", None, as_json=False)
    assert "job_overtime_ratio  17" in capsys.readouterr().out


def test_a_figure_that_is_no_longer_measured_says_until_when(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last value is not of now."""
    with closing(MetricsHistory.open(tmp_path / "state" / "metrics.db", 64 * 1024**2)) as history:
        history.add(Sample(ago(30.5), {Key("gpu_power_w", "0"): 250.0}), Judgement())
    metrics.run(config, ["gpu_power"], "24h", None, as_json=False)
    assert " at " not in capsys.readouterr().out
    metrics.run(config, ["gpu"], "24h", None, as_json=False)
    assert f"250 W at {ago(30.5).astimezone():%H:%M}" in capsys.readouterr().out


def test_json_is_for_scripts(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain numbers and UTC; points where figures were named."""
    assert metrics.run(config, ["host_cpu"], "24h", None, as_json=True) == exits.OK
    told = json.loads(capsys.readouterr().out)
    (cpu,) = told["figures"]
    assert (cpu["name"], cpu["subject"], cpu["last"], cpu["worst"], cpu["grown"]) == (
        *("host_cpu_used_ratio", "", 0.5, 0.9),
        None,
    )
    assert (cpu["words"], len(cpu["points"])) == ("warm", 60)
    assert cpu["points"][0].keys() == {"at", "mean", "worst", "last"}
    assert [one["title"] for one in told["alerts"]] == ["the disk fills", "\x1b[31m$x$", "an old one"]
    metrics.run(config, [], "1h", None, as_json=True)
    everything = json.loads(capsys.readouterr().out)
    assert len(everything["figures"]) == 12
    assert "points" not in everything["figures"][0]
    assert len(everything["alerts"]) == 2


def test_names_are_whole_or_begin_so() -> None:
    """A whole name is that figure alone, also where others begin with it."""
    assert matching([]) is None
    assert matching(["jobs"]) == frozenset({"jobs"})
    assert matching(["jobs_", "gpu_power_w"]) == frozenset({"jobs_ended", "gpu_power_w"})
    assert len(matching(["gpu"]) or ()) > 5
    with pytest.raises(TranscribedError, match=r"'gpux': no figure is called so; their names begin with .*gpu, host"):
        matching(["host", "gpux"])


@pytest.mark.parametrize("when", ["soon", "2999-01-01", "-3d", ""])
def test_a_time_that_is_none_is_refused(config: Path, when: str) -> None:
    """Naming the option."""
    with pytest.raises(TranscribedError, match="--since"):
        metrics.run(config, [], when, None, as_json=False)


def test_nothing_measured_is_said(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with an exit code for scripts; and so is a machine where nothing was ever measured."""
    assert metrics.run(config, ["canary"], "24h", None, as_json=False) == exits.FAILED
    told = capsys.readouterr()
    assert told.err == "transcribed: nothing was measured in that time\n"
    assert "figure" not in told.out
    (tmp_path / "state" / "metrics.db").unlink()
    with pytest.raises(TranscribedError, match="no figures yet"):
        metrics.run(config, [], "24h", None, as_json=False)


def test_a_counter_that_began_again_still_grew() -> None:
    """What it counts was started again: from 0 to the new value is growth too."""
    values = (5.0, 9.0, 2.0, 3.0)
    points = tuple(Point(ago(9 - n), value, value, value, 1) for n, value in enumerate(values))
    assert summed_up(Series(Key("process_read_bytes", "engine"), points)).grown == 7.0
    assert summed_up(Series(Key("folder_free_bytes", "/"), points)).worst.worst == 2.0


@pytest.mark.parametrize(("suffix", "magic"), [("png", PNG), ("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_the_day_is_drawn(config: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    """In the format that the name says, whatever names of folders and titles hold."""
    file = tmp_path / f"day.{suffix}"
    assert metrics.run(config, [], "24h", file, as_json=False) == exits.OK
    assert file.read_bytes().startswith(magic)


def test_the_drawing_says_what_is_what(config: Path, tmp_path: Path) -> None:
    """Panels that have figures, the lines by name, the alerts by title; nothing of the jobs that are over."""
    file = tmp_path / "day.svg"
    metrics.run(config, [], "2h", file, as_json=False)
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text(encoding="utf-8"))
    for title in ("Alerts", "Queue", "Speed", "Processor and memory", "Disks, free", "Temperature"):
        assert title in drawn
    assert {"queued", "processor", "GPU 0", "engine", "the disk fills", "\\x1b[31m$x$", "100 %"} <= set(drawn)
    assert not {"GPU", "done", "waiting", "an old one"} & set(drawn)
    assert any("\\x1b[2J$x$" in text for text in drawn)


def test_named_figures_have_a_panel_each(config: Path, tmp_path: Path) -> None:
    """With what they mean as the title."""
    file = tmp_path / "some.svg"
    metrics.run(config, ["gpu", "process_w"], "2h", file, as_json=False)
    drawn = file.read_text(encoding="utf-8")
    assert "gpu_temperature_celsius: Temperature of the GPU" in drawn
    assert "process_written_bytes: Bytes written to storage" in drawn
    assert "Queue" not in drawn


def test_what_cannot_be_drawn_is_said(config: Path, tmp_path: Path) -> None:
    """The name, the folder, or that there is nothing."""
    with pytest.raises(TranscribedError, match=r"must end in \.png, \.svg, \.pdf"):
        metrics.run(config, [], "24h", tmp_path / "day.txt", as_json=False)
    with pytest.raises(TranscribedError, match=r"cannot write .*day\.png: No such file"):
        metrics.run(config, [], "24h", tmp_path / "no" / "day.png", as_json=False)
    with pytest.raises(TranscribedError, match="could be drawn"):
        metrics.run(config, ["canary"], "24h", tmp_path / "day.png", as_json=False)
    assert not list(tmp_path.glob("*.png"))


def test_a_crowded_page_stays_a_page(tmp_path: Path) -> None:
    """Of many alerts the worst and newest are named, of many lines the first; a single sample is drawn too."""
    many = tuple(
        Series(Key("process_rss_bytes", f"decoder-{n}"), (Point(ago(n), 1e9, 1e9, 1e9, 1),)) for n in range(20)
    )
    alerts = [replace(ALERTS[1], title=f"number {n}", opened_at=ago(100 + n), severity="info") for n in range(50)]
    alerts.append(replace(ALERTS[1], title="the worst", severity="critical", opened_at=ago(10_000)))
    file = tmp_path / "day.svg"
    plotting.draw(file, Span(ago(600), NOW, 30, many, alerts), named=False)
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text(encoding="utf-8"))
    assert {"and 12 more", "Alerts (41 more are not shown)", "the worst", "number 0", "decoder-7"} <= set(drawn)
    assert not {"number 20", "decoder-9"} & set(drawn)


def test_lines_end_where_nothing_was_measured() -> None:
    """A stop of the service is a gap, not a straight line."""
    points = [Point(ago(60 - n), 1.0, 1.0, 1.0, 1) for n in range(60) if not 20 <= n < 40]
    drawn = list(plotting.with_gaps(points, 60))
    assert len(drawn) == 41
    assert [n for n, (_, point) in enumerate(drawn) if point.n_samples == 0] == [20]


def test_the_command_line_without_a_drawing_loads_no_matplotlib(config: Path) -> None:
    """A person waits for the table; and the daemon must never load it."""
    code = (
        "import sys; from pathlib import Path; from daemon.cli import metrics, app; import daemon.service;"
        f"metrics.run(Path({str(config)!r}), [], '24h', None, as_json=False);"
        "print({'matplotlib', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
