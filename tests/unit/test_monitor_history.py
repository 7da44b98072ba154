"""The history of figures and alerts: what is kept, for how long, and what becomes of it when its disk fails."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.alert import Alert, Judgement
from monitor.figures import FIGURES, Key, Sample
from monitor.history.errors import HistoryBusy, HistoryDamaged, HistoryError, HistoryFull, HistoryUnavailable
from monitor.history.jsonlog import JsonLog, Recording, line
from monitor.history.reading import MetricsReader, Point
from monitor.history.rows import Cell, Row, fold, meaning, merged, pack, pack_values, to_ms, to_text, unpack
from monitor.history.store import MetricsHistory
from monitor.history.tables import VIEWS, WAL_BYTES, open_to_write
from monitor.history.thinning import fit

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
CPU = Key("host_cpu_used_ratio")
FREE = Key("folder_free_bytes", "/srv/inbox")
WRITTEN = Key("process_written_bytes", "daemon")
JOB = Key("job_overtime_ratio", "17")
CAP = 64 * 1024**2
NOTHING = Judgement()


def s(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def sample(at: datetime, figures: Mapping[Key, float] | None = None, words: Mapping[Key, str] | None = None) -> Sample:
    return Sample(at, {CPU: 0.5} if figures is None else figures, words or {})


def alert(rule: str = "cpu", key: Key = CPU, **changes: object) -> Alert:
    plain = Alert(rule, key, "warning", "CPU 93 %, at most 90 %", "Look at `top`.", "", 0.9, 0.93, 0.93, 0.93, AT, AT)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.db"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is not waited for: a year has many commits, and the disk is not what is tested."""

    def opened(path: Path) -> sqlite3.Connection:
        connection = open_to_write(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr("monitor.history.store.open_to_write", opened)


@pytest.fixture
def history(path: Path) -> Iterator[MetricsHistory]:
    with closing(MetricsHistory.open(path, CAP)) as history:
        yield history


@pytest.fixture
def reader(history: MetricsHistory, path: Path) -> Iterator[MetricsReader]:
    del history  # made before it is read
    with closing(MetricsReader.open(path)) as reader:
        yield reader


def approx(value: float) -> Any:
    """As a row keeps a fraction: in six digits."""
    return pytest.approx(value, rel=1e-5)


def tidied(history: MetricsHistory, at: datetime) -> None:
    """Until there is nothing left to do."""
    for _ in range(10_000):
        if not history.tidy(at):
            return
    raise AssertionError("there is always more to tidy")


def rows_of(path: Path, table: str) -> list[tuple[int, int, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT at_ms, n_samples, figures FROM {table} ORDER BY at_ms").fetchall()


# -- rows ------------------------------------------------------------------------------------------------------------


def test_a_row_reads_as_it_was_written() -> None:
    """Whole numbers to the last digit, fractions to six; a figure that some samples lack keeps its own count."""
    cells = {
        1: Cell(0.1234567, 0.5, 0.25, 6),
        2: Cell(2**52 + 1, 2**52 + 1, 2**52 + 1, 6),
        3: Cell(1.5e-9, 1.5e-9, 1.5e-9, 2),
        4: Cell(-3.25, -7.0, 1e30, 6),
    }
    packed = pack(Row(to_ms(AT), 6, cells))
    assert unpack((to_ms(AT), 6, packed, None)).figures == {**cells, 1: Cell(0.123457, 0.5, 0.25, 6)}
    assert json.loads(packed)["2"] == 2**52 + 1


def test_what_is_no_number_is_left_out() -> None:
    """JSON has no infinity, and an absent figure says what there is to say."""
    assert pack_values({1: float("inf"), 2: float("nan"), 3: 1.0, 4: float("-inf")}) == '{"3":1}'


def test_a_row_that_is_none_is_damage() -> None:
    """Not a bug of whoever reads it: the file is set aside for it."""
    for broken in ('{"1":', "[]", '{"x":1}', '{"1":"0.5"}', '{"1":[]}'):
        with pytest.raises(HistoryDamaged, match="2026-03-01"):
            unpack((to_ms(AT), 1, broken, None))


def test_the_worst_is_high_or_low() -> None:
    """Of free room the least, of load the most, of a counter the last."""
    one, other = Cell(0.2, 0.3, 0.1, 6), Cell(0.8, 0.9, 0.7, 2)
    assert merged(one, other, FIGURES["host_cpu_used_ratio"]) == pytest.approx((0.35, 0.9, 0.7, 8))
    assert merged(one, other, FIGURES["folder_free_ratio"]) == pytest.approx((0.35, 0.3, 0.7, 8))
    assert merged(one, other, FIGURES["process_written_bytes"]) == (0.7, 0.7, 0.7, 8)


def test_folding_keeps_what_only_some_rows_have() -> None:
    """A figure that was absent for a while counts with the samples that had it."""
    rows = [Row(0, 1, {1: Cell(1, 1, 1, 1)}), Row(1, 1, {1: Cell(3, 3, 3, 1), 2: Cell(8, 8, 8, 1)}, {2: "hot"})]
    folded = fold(0, rows, lambda _: meaning("host_cpu_used_ratio"))
    assert folded == Row(0, 2, {1: Cell(2, 3, 3, 2), 2: Cell(8, 8, 8, 1)}, {2: "hot"})
    assert unpack((0, 2, pack(folded), None)).figures[2].n == 1


# -- samples ---------------------------------------------------------------------------------------------------------


def test_samples_are_read_by_name_and_subject(history: MetricsHistory, reader: MetricsReader) -> None:
    """In the order of time, words with them, nothing for what was absent."""
    history.add(sample(s(0), {CPU: 0.5, FREE: 7e9}, {FREE: "a slow disk"}), NOTHING)
    history.add(sample(s(10), {CPU: 0.7}), NOTHING)
    cpu, free = reader.series(["host_cpu_used_ratio", "folder_free_bytes"], s(0), s(60))[::-1]
    assert (cpu.key, cpu.words) == (CPU, "")
    assert cpu.points == (Point(s(0), 0.5, 0.5, 0.5, 1), Point(s(10), 0.7, 0.7, 0.7, 1))
    assert (free.key, free.words, len(free.points)) == (FREE, "a slow disk", 1)
    assert reader.series("gpu_power_w", s(0), s(60)) == ()
    assert reader.series(None, s(20), s(60)) == ()


def test_names_that_are_no_text_are_kept(path: Path) -> None:
    """A folder's name may be any bytes: shown as in the job history, and known again after a restart."""
    odd, shown = (Key("folder_free_bytes", f"/srv/{byte}\n\x1b[2J\u6f22") for byte in ("\udcff", "\\xff"))
    opened = alert("disk", odd, title=f"{odd.subject} fills", words="\udc80")
    with closing(MetricsHistory.open(path, CAP)) as history:
        history.add(sample(s(0), {odd: 1.0}, {odd: "\udcfe \ud800"}), Judgement((opened,), (), (opened,)))
    with closing(MetricsHistory.open(path, CAP)) as history:
        assert history.open_alerts()[0].key == shown
        assert history.add(sample(s(10), {odd: 2.0}), Judgement(open=(opened,))).open[0].id == 1
        assert [dict(one.figures) for one in history.recent({odd.name}, s(0), 0)] == [{shown: 1.0}, {shown: 2.0}]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT subject, words FROM v_metrics LIMIT 1").fetchone() == (
            "/srv/\\xff\n\x1b[2J\u6f22",
            "\\udcfe \\ud800",
        )
        assert connection.execute("SELECT words FROM v_alerts").fetchone() == ("\\x80",)


def test_a_folder_whose_name_is_shown_with_its_bytes_is_known_again(path: Path) -> None:
    """As `daemon.figures` names it, from one start to the next: one series, one alert, and samples go on."""
    inbox = Key("inbox_offline", "/srv/caf\\xe9")
    opened = alert("inbox_offline", inbox)
    for n in range(3):
        with closing(MetricsHistory.open(path, CAP)) as history:
            assert history.add(sample(s(n), {inbox: 1.0}), Judgement(open=(opened,))).open[0].id == 1
            assert [one.key for one in history.open_alerts()] == [inbox]
            assert [dict(one.figures) for one in history.recent({inbox.name}, s(0), 0)] == [{inbox: 1.0}] * (n + 1)


def test_steps_are_means_with_the_worst(history: MetricsHistory, reader: MetricsReader) -> None:
    """As the thinning would make them, whatever is kept."""
    for n, value in enumerate((0.1, 0.9, 0.2, 0.4)):
        history.add(sample(s(n * 10), {CPU: value}), NOTHING)
    (cpu,) = reader.series("host_cpu_used_ratio", s(0), s(60), step_s=60)
    assert cpu.points == (Point(s(0), approx(0.4), 0.9, 0.4, 4),)


def test_recent_samples_are_for_the_detectors(history: MetricsHistory) -> None:
    """Of the figures that were asked for, in the order of time, after a restart too."""
    for n in range(12):
        history.add(sample(s(n * 10), {CPU: n / 10, FREE: 100 - n}), NOTHING)
    recent = history.recent(["folder_free_bytes"], s(30), 30)
    assert [one.at for one in recent] == [s(30), s(60), s(90)]
    assert [dict(one.figures) for one in recent] == [{FREE: 96}, {FREE: 93}, {FREE: 90}]
    assert [one.figures[CPU] for one in history.recent({"host_cpu_used_ratio"}, s(100), 0)] == [1.0, 1.1]


def test_samples_become_minutes_and_minutes_hours(history: MetricsHistory, reader: MetricsReader, path: Path) -> None:
    """After 6 hours and 14 days; the mean, the worst and the last value stay, and of a counter the last."""
    for n in range(60 * 6 * 2):
        figures = {CPU: 0.9 if n == 400 else 0.1, FREE: 1000.0 - n, WRITTEN: n}
        history.add(sample(s(n * 10), figures, {CPU: "hot"} if n == 400 else None), NOTHING)
    tidied(history, s(6 * 3600 + 3600))
    assert (len(rows_of(path, "sample")), len(rows_of(path, "minute"))) == (360, 60)
    assert [row[0] for row in rows_of(path, "minute")] == [to_ms(s(60 * n)) for n in range(60)]
    tidied(history, s(6 * 3600 + 7200))
    tidied(history, s(86_400 * 14 + 5000))
    assert (len(rows_of(path, "minute")), len(rows_of(path, "hour"))) == (60, 1)
    tidied(history, s(86_400 * 14 + 7200))
    cpu, written, free = (reader.series(key.name, s(0), s(7200))[0] for key in (CPU, WRITTEN, FREE))
    assert [point.at for point in cpu.points] == [s(0), s(3600)]
    assert cpu.points[1] == Point(s(3600), approx(0.1 + 0.8 / 360), 0.9, 0.1, 360)
    assert cpu.words == "hot"
    assert free.points[0] == Point(s(0), approx(820.5), 641, 641, 360)
    assert [point.last for point in written.points] == [359, 719]


def test_a_clock_that_was_put_back_loses_nothing(history: MetricsHistory, reader: MetricsReader) -> None:
    """What comes for a minute that is folded already is folded into it."""
    history.add(sample(s(0), {CPU: 0.2}), NOTHING)
    tidied(history, s(7 * 3600))
    history.add(sample(s(30), {CPU: 0.6}), NOTHING)
    tidied(history, s(7 * 3600))
    (cpu,) = reader.series("host_cpu_used_ratio", s(0), s(60))
    assert cpu.points == (Point(s(0), 0.4, 0.6, 0.6, 2),)


def test_figures_of_jobs_are_kept_for_hours(history: MetricsHistory, reader: MetricsReader, path: Path) -> None:
    """There may be a million of them: the job history has what became of each."""
    history.add(sample(s(0), {CPU: 0.2, JOB: 3.0}), NOTHING)
    assert reader.series(JOB.name, s(0), s(60))[0].key == JOB
    tidied(history, s(13 * 3600))
    assert reader.series(JOB.name, s(0), s(60)) == ()
    assert reader.series(CPU.name, s(0), s(60)) != ()
    history.add(sample(s(14 * 3600), {JOB: 1.0}), NOTHING)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, subject FROM series WHERE name = ?", (JOB.name,)).fetchall() == [
            (3, "17")
        ]


def test_each_sample_tidies_a_little(history: MetricsHistory, path: Path) -> None:
    """Nobody has to call `tidy`: what a long stop left behind is thinned within some minutes."""
    for n in range(1300):
        history.add(sample(s(n)), NOTHING)
    for n in range(4):
        history.add(sample(s(8 * 3600 + n * 10)), NOTHING)
    assert len(rows_of(path, "sample")) == 4


# -- size ------------------------------------------------------------------------------------------------------------


def many(n: int, n_figures: int = 100) -> dict[Key, float]:
    """Figures that differ from sample to sample; 100 are those of a machine with two GPUs."""
    return {Key("process_rss_bytes", f"role-{k}"): 1e9 + n % 13 * (k + 1) * 4096 + n for k in range(n_figures)}


@pytest.mark.usefixtures("quick")
def test_a_year_stays_under_the_cap(path: Path) -> None:
    """Two fat samples a day for a year into 4 MiB: the file is never larger, its log counted; the newest are there."""
    cap = 4 * 1024**2
    largest = 0
    with closing(MetricsHistory.open(path, cap)) as history:
        for n in range(365 * 2):
            history.add(sample(s(n * 43_200), many(n, 500)), NOTHING)
            largest = max(largest, path.stat().st_size + os.stat(f"{path}-wal").st_size)
    assert cap / 2 < largest <= cap
    with closing(MetricsReader.open(path)) as reader:
        points = reader.series("process_rss_bytes", AT, s(366 * 86_400))[0].points
    assert points[-1].at == s((365 * 2 - 1) * 43_200)
    assert points[-1].at - points[0].at > timedelta(days=60)
    assert {after.at - before.at for before, after in itertools.pairwise(points)} == {timedelta(hours=12)}


@pytest.mark.usefixtures("quick")
def test_a_reader_that_does_not_end_cannot_fill_the_disk(path: Path) -> None:
    """The log beside the file grows up to the cap, then samples are refused with the reason; its end frees the room."""
    cap = 4 * 1024**2
    with closing(MetricsHistory.open(path, cap)) as history, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM sample").fetchone() == (0,)
        samples = (sample(s(n), many(n, 500)) for n in range(2000))
        with pytest.raises(HistoryBusy, match="end that program"):
            deque((history.add(one, NOTHING) for one in samples), maxlen=0)
        assert cap < os.stat(f"{path}-wal").st_size < 1.5 * cap
        reader.rollback()
        history.add(sample(s(2000), many(0, 500)), NOTHING)
        history.add(sample(s(2001), many(1, 500)), NOTHING)
        assert os.stat(f"{path}-wal").st_size <= 2 * WAL_BYTES


def test_a_picture_needs_few_of_many_rows(history: MetricsHistory, reader: MetricsReader) -> None:
    """With a limit some rows are passed over, evenly, whatever the time between them; without it none."""
    for number in range(100):
        history.add(sample(AT + timedelta(seconds=7 * number), {CPU: number / 100}), Judgement())
    since, until = AT, AT + timedelta(seconds=700)
    (everything,) = reader.series(CPU.name, since, until)
    (some,) = reader.series(CPU.name, since, until, most_rows=10)
    assert len(everything.points) == 100
    assert 10 <= len(some.points) <= 11
    apart = {round((b.at - a.at).total_seconds()) for a, b in itertools.pairwise(some.points)}
    assert max(apart) <= 77


def filled(path: Path, table: str, times: Iterable[datetime]) -> sqlite3.Connection:
    """A file with rows of 2 kB at these *times*, in a transaction."""
    connection = open_to_write(path)
    connection.execute("BEGIN")
    row = pack(Row(0, 1, {n: Cell(0.123456, 0.123456, 0.123456, 1) for n in range(150)}))
    connection.executemany(f"INSERT INTO {table} VALUES (?, 1, ?, NULL)", [(to_ms(at), row) for at in times])
    return connection


def fitted(connection: sqlite3.Connection, max_bytes: int, now_at: datetime) -> dict[str, list[int]]:
    """The times that are left when it fits."""
    for _ in range(1000):
        if not fit(connection, max_bytes, now_at, lambda _: meaning("host_cpu_used_ratio")):
            tables = ("hour", "minute", "sample")
            return {name: [at for (at,) in connection.execute(f"SELECT at_ms FROM {name}")] for name in tables}
    raise AssertionError("it never fits")


def test_minutes_make_room_before_hours_go(path: Path) -> None:
    """The oldest of them become hours before their time: a small file has a fine picture and a long one."""
    with closing(filled(path, "minute", [s(n * 60) for n in range(3000)])) as connection:
        left = fitted(connection, 4 * 1024**2, s(3000 * 60))
    assert left["hour"][0] == to_ms(s(0))
    assert left["minute"][0] == left["hour"][-1] + 3_600_000
    assert left["minute"][-1] == to_ms(s(2999 * 60))
    assert len(left["minute"]) > 300


def test_the_oldest_hours_go_first(path: Path) -> None:
    """Then minutes, then samples: what is left are the newest."""
    with closing(filled(path, "hour", [s(n * 3600) for n in range(4000)])) as connection:
        left = fitted(connection, 4 * 1024**2, s(4000 * 3600))["hour"]
    assert left == [to_ms(s(n * 3600)) for n in range(4000 - len(left), 4000)]
    assert len(left) > 1000
    with closing(filled(path, "sample", [s(n) for n in range(4000)])) as connection:
        left = fitted(connection, 4 * 1024**2, s(4000))["sample"]
    assert left == [to_ms(s(n)) for n in range(4000 - len(left), 4000)]


def test_what_lies_in_the_future_goes_first(path: Path) -> None:
    """A clock that was wrong by years does not push out what is true."""
    true = [s(n * 3600) for n in range(1000)]
    wrong = [s(86_400 * 3650 + n * 3600) for n in range(1000)]
    with closing(filled(path, "hour", true + wrong)) as connection:
        left = fitted(connection, 4 * 1024**2, s(1000 * 3600))["hour"]
    assert left[:1000] == [to_ms(at) for at in true]
    assert len(left) < 2000


@pytest.mark.usefixtures("quick")
def test_a_smaller_cap_shrinks_the_file(path: Path) -> None:
    """When the configuration is changed: a little with each sample."""
    cap = 4 * 1024**2
    with closing(MetricsHistory.open(path, CAP)) as history:
        for n in range(1000):
            history.add(sample(s(n * 20), many(n, 400)), NOTHING)
    assert path.stat().st_size > cap
    with closing(MetricsHistory.open(path, cap)) as history:
        for n in range(20):
            history.add(sample(s(20_000 + n * 10), many(n)), NOTHING)
    assert path.stat().st_size <= cap


# -- alerts ----------------------------------------------------------------------------------------------------------


def test_an_alert_gets_a_number_and_keeps_it(history: MetricsHistory, reader: MetricsReader) -> None:
    """Opened, worse, resolved: one row, of which first, last and peak are told."""
    judged = history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    assert judged.opened[0].id == judged.open[0].id == 1
    worse = alert(last=0.95, peak=0.99, seen_at=s(10))
    assert history.add(sample(s(10)), Judgement(open=(worse,))).open[0].id == 1
    assert history.open_alerts() == reader.alerts(open_only=True) == (replace(worse, id=1),)
    over = replace(worse, last=0.4, resolved_at=s(20))
    assert history.add(sample(s(20)), Judgement(resolved=(over,))).resolved[0].id == 1
    assert history.open_alerts() == ()
    assert reader.alerts() == (replace(over, id=1),)
    again = history.add(sample(s(30)), Judgement(opened=(alert(opened_at=s(30)),), open=(alert(opened_at=s(30)),)))
    assert again.opened[0].id == 2
    assert [one.id for one in reader.alerts()] == [2, 1]
    assert [one.id for one in reader.alerts(1)] == [2]


def test_one_ends_and_the_next_begins_in_one_sample(history: MetricsHistory) -> None:
    """Two rows, though the matter is the same."""
    history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    new = alert(opened_at=s(10))
    judged = history.add(sample(s(10)), Judgement((new,), (alert(resolved_at=s(10)),), (new,)))
    assert (judged.resolved[0].id, judged.opened[0].id) == (1, 2)


def test_a_restart_knows_what_is_open(path: Path) -> None:
    """Neither forgotten nor opened twice, and who was told stays known."""
    disk = alert("disk", FREE)
    with closing(MetricsHistory.open(path, CAP)) as history:
        history.add(sample(s(0)), Judgement((alert(), disk), (), (alert(), disk)))
        history.told([1], s(1))
    with closing(MetricsHistory.open(path, CAP)) as history:
        assert [(one.rule, one.id) for one in history.open_alerts()] == [("cpu", 1), ("disk", 2)]
        assert history.told_times() == {1: s(1)}
        judged = history.add(sample(s(10)), Judgement(open=(alert(seen_at=s(10)), disk)))
        assert [one.id for one in judged.open] == [1, 2]


def test_what_could_not_be_written_is_made_up_for(history: MetricsHistory, path: Path) -> None:
    """An opening and an end that were lost to a locked file are written with the next sample."""
    history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    disk = alert("disk", FREE)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryBusy, match="end its transaction"):
            history.add(sample(s(10)), Judgement((disk,), (alert(resolved_at=s(10)),), (disk,)))
        other.execute("ROLLBACK")
    judged = history.add(sample(s(20)), Judgement(open=(disk,)))
    assert judged.open[0].id == 2
    assert [one.rule for one in history.open_alerts()] == ["disk"]


def test_old_alerts_go_and_open_ones_stay(history: MetricsHistory, reader: MetricsReader) -> None:
    """Only so many are kept: a rule that opens each minute for years must not fill the disk."""
    history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    disk = [alert("disk", FREE, opened_at=s(n), resolved_at=s(n)) for n in range(2100)]
    history.add(sample(s(10)), Judgement(resolved=tuple(disk), open=(alert(),)))
    tidied(history, s(20))
    kept = reader.alerts(10_000)
    assert len(kept) == 2001
    assert (kept[0].rule, kept[-1].opened_at) == ("cpu", s(100))


def test_alerts_of_a_time_are_those_that_were_open_in_it(history: MetricsHistory, reader: MetricsReader) -> None:
    """Also those that began before it or have not ended."""
    early = alert("early", opened_at=s(0), resolved_at=s(10))
    during = alert("during", opened_at=s(20), resolved_at=s(30))
    long = alert("long", opened_at=s(0))
    history.add(sample(s(30)), Judgement(resolved=(early, during), open=(long,)))
    assert [one.rule for one in reader.alerts_between(s(15), s(40))] == ["long", "during"]
    assert [one.rule for one in reader.alerts_between(s(5), s(8))] == ["long", "early"]


# -- trouble ---------------------------------------------------------------------------------------------------------


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")


def half(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP VIEW v_alerts")
        connection.execute("DROP TABLE alert")


def without_a_column(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP VIEW v_alerts")
        connection.execute("ALTER TABLE alert DROP COLUMN told_at")


@pytest.mark.parametrize("harm", [damaged, newer, foreign, half, without_a_column], ids=lambda harm: harm.__name__)
def test_a_file_that_is_not_ours_is_set_aside(harm: object, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning, at the start; figures are not precious."""
    with closing(MetricsHistory.open(path, CAP)) as history:
        history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    assert callable(harm)
    harm(path)
    with closing(MetricsHistory.open(path, CAP)) as history:
        assert history.open_alerts() == ()
        history.add(sample(s(10)), NOTHING)
    assert "set-aside" in caplog.text
    assert (path.parent / "metrics.db.set-aside").exists()
    assert len(rows_of(path, "sample")) == 1


def test_damage_while_it_is_open_begins_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sample that met the damage is the first of the new file, with the alerts that are open."""
    with closing(MetricsHistory.open(path, CAP)) as history:
        for n in range(50):
            history.add(sample(s(n * 10), many(n)), NOTHING)
    with closing(MetricsHistory.open(path, CAP)) as history:
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(path.stat().st_size - 8192))
        judged = history.add(sample(s(600)), Judgement(open=(alert(),)))
        assert judged.open[0].id == 1
        history.add(sample(s(610)), Judgement(open=(alert(),)))
    assert "set-aside" in caplog.text
    assert len(rows_of(path, "sample")) == 2


def test_a_removed_file_is_made_again(history: MetricsHistory, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite goes on writing into a file without a name; within a minute that is noticed."""
    history.add(sample(s(0)), NOTHING)
    for file in path.parent.iterdir():
        file.unlink()
    history.add(sample(s(61)), NOTHING)
    history.add(sample(s(71)), Judgement(open=(alert(),)))
    assert "removed or replaced" in caplog.text
    assert len(rows_of(path, "sample")) == 1
    assert history.open_alerts()[0].id == 1


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The service starts, each sample is an error for the log, and when the folder is there all goes on."""
    path = tmp_path / "later" / "metrics.db"
    with closing(MetricsHistory.open(path, CAP)) as history:
        assert "Figures are not kept" in caplog.text
        with pytest.raises(HistoryUnavailable, match="check the folder"):
            history.add(sample(s(0)), NOTHING)
        with pytest.raises(HistoryError):
            history.open_alerts()
        path.parent.mkdir()
        history.add(sample(s(10)), NOTHING)
    assert len(rows_of(path, "sample")) == 1


def test_what_is_closed_stays_closed(history: MetricsHistory) -> None:
    """Who sends messages may still be at it when the service ends: the file is not opened again."""
    history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    history.close()
    with pytest.raises(HistoryUnavailable, match="is closed"):
        history.told([1], s(1))
    history.close()


def test_a_full_disk_loses_samples_and_no_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says so; what was there is there, and with room all goes on."""
    connection = open_to_write(path)
    monkeypatch.setattr("monitor.history.store.open_to_write", lambda _: connection)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    history = MetricsHistory.open(path, CAP)
    history.add(sample(s(0)), NOTHING)
    (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {n_pages}")
    with pytest.raises(HistoryFull, match="make room"):  # noqa: PT012  # some fit into the last page
        for n in range(1, 50):
            history.add(sample(s(n * 10), many(n)), Judgement(open=(alert(),)))
    connection.execute("PRAGMA max_page_count = 1000000")
    judged = history.add(sample(s(1000), many(1)), Judgement(open=(alert(),)))
    assert judged.open[0].id is not None
    assert rows_of(path, "sample")[-1][0] == to_ms(s(1000))
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    history.close()


def test_tidying_that_fails_costs_no_sample(
    history: MetricsHistory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once and tried again."""

    def fail(*_: object) -> bool:
        raise HistoryFull("no room")

    with monkeypatch.context() as broken:
        broken.setattr("monitor.history.store.thin", fail)
        for n in range(5):
            history.add(sample(s(n * 60)), NOTHING)
    assert caplog.text.count("Old figures are not thinned: no room") == 1
    assert len(history.recent(["host_cpu_used_ratio"], s(0), 0)) == 5


def test_a_reader_needs_a_file_that_it_knows(path: Path) -> None:
    """Each refusal names the file."""
    with pytest.raises(HistoryUnavailable, match="no figures yet"):
        MetricsReader.open(path)
    with closing(MetricsHistory.open(path, CAP)):
        newer(path)
    with pytest.raises(HistoryUnavailable, match="of version 99"):
        MetricsReader.open(path)
    damaged(path)
    with pytest.raises(HistoryDamaged, match=r"cannot open .*metrics\.db"):
        MetricsReader.open(path)


def test_who_reads_does_not_hold_up_who_writes(history: MetricsHistory, path: Path) -> None:
    """And sees one state for as long as it reads."""
    history.add(sample(s(0)), NOTHING)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM sample").fetchone() == (1,)
        history.add(sample(s(10)), NOTHING)
        assert other.execute("SELECT count(*) FROM sample").fetchone() == (1,)
        other.execute("COMMIT")
        assert other.execute("SELECT count(*) FROM sample").fetchone() == (2,)


def test_others_may_tell_while_samples_are_added(history: MetricsHistory) -> None:
    """The thread that sends messages writes beside the monitor's."""
    history.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    failed: list[HistoryError] = []

    def tell() -> None:
        try:
            for n in range(100):
                history.told([1], s(n))
        except HistoryError as error:
            failed.append(error)

    teller = threading.Thread(target=tell)
    teller.start()
    for n in range(1, 100):
        history.add(sample(s(n * 10)), Judgement(open=(alert(),)))
    teller.join()
    assert failed == []
    assert history.told_times() == {1: s(99)}


def test_a_sample_costs_little(history: MetricsHistory) -> None:
    """100 figures, kept and judged: some milliseconds of processor time at the very most."""
    samples = [sample(s(n * 10), many(n)) for n in range(200)]
    began_s = time.thread_time()
    for one in samples:
        history.add(one, Judgement(open=(alert(),)))
    assert (time.thread_time() - began_s) / len(samples) < 0.005


# -- views -----------------------------------------------------------------------------------------------------------


def test_views_tell_samples_and_what_became_of_them(history: MetricsHistory, path: Path) -> None:
    """By plain SQLite, without a trusted schema."""
    for n in range(12):
        history.add(sample(s(n * 10), {CPU: n / 10, FREE: 100 - n}, {FREE: "slow"} if n == 11 else None), NOTHING)
    tidied(history, s(60 + 6 * 3600))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute(
            "SELECT at, step_s, mean, worst, last, n_samples, words FROM v_metrics"
            " WHERE name = 'folder_free_bytes' AND subject = '/srv/inbox' ORDER BY at"
        ).fetchall()
    assert found[0] == ("2026-03-01T12:00:00.000Z", 60, 97.5, 95, 95, 6, None)
    assert found[-1] == (to_text(s(110)), 0, 89, 89, 89, 1, "slow")
    assert len(found) == 7


def test_the_view_of_alerts_says_for_how_long(history: MetricsHistory, path: Path) -> None:
    """`open_s` of a resolved one is fixed; of an open one it grows."""
    history.add(sample(s(0)), Judgement(resolved=(alert(resolved_at=s(90)),), open=(alert("disk", FREE),)))
    with closing(sqlite3.connect(path)) as connection:
        closed, still = connection.execute(
            "SELECT rule, open_s, resolved_at FROM v_alerts ORDER BY alert_id"
        ).fetchall()
    assert closed == ("cpu", 90.0, to_text(s(90)))
    assert still[1] > 86_400
    assert still[2] is None


DOCUMENT = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8").partition("\n## metrics.db\n")[2]
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hours of figures until now, with one alert of each kind."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.db"
    now = datetime.now(UTC)
    with closing(MetricsHistory.open(path, CAP)) as history:
        for n in range(-300, 0):
            at = now + timedelta(minutes=n)
            figures = {
                CPU: 0.5,
                FREE: 1e9 + n * 1e6,
                Key("gpu_temperature_celsius", "0"): 70.0 + n % 20,
                Key("process_rss_bytes", "engine"): 1e9,
                Key("jobs", "queued"): -n,
                Key("recent_speed_ratio"): 9.0,
            }
            opened = alert("disk", FREE, severity="critical", opened_at=at, seen_at=at)
            judged = Judgement((opened,), (alert(opened_at=at, resolved_at=at),), (opened,)) if n == -10 else NOTHING
            history.add(sample(at, figures), judged if n <= -10 else Judgement(open=(opened,)))
    return path


def test_the_page_has_queries() -> None:
    """The pattern that finds them does find them, and the table of views names all."""
    assert len(QUERIES) == DOCUMENT.count("```sql") > 5
    names = [re.findall(r"CREATE VIEW (\w+)", view)[0] for view in VIEWS]
    assert [name for name in names if f"| `{name}` |" not in DOCUMENT] == []


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(query.split())[:60])
def test_every_query_finds_something(seeded: Path, query: str) -> None:
    """Run the way a person would: plain SQLite, read-only."""
    with closing(sqlite3.connect(f"file:{seeded}?mode=ro", uri=True, timeout=0)) as connection:
        found = connection.execute(query)
        assert found.fetchall() != []
        assert not {column[0] for column in found.description} & {"", None}


# -- the JSON log ----------------------------------------------------------------------------------------------------


def test_a_line_has_all_figures_and_forges_nothing(tmp_path: Path) -> None:
    """One line for each sample, in ASCII, whatever a name holds; figures with subjects by subject."""
    file = tmp_path / "metrics.jsonl"
    hostile = Key("folder_free_bytes", "/srv/\n\x1b[2J\udcff")
    json_log = JsonLog(file, 100_000, 3)
    words = {hostile: "slow\nnewline"}
    json_log.write(sample(s(0), {CPU: 0.25, hostile: 5e9, FREE: float("inf")}, words), Judgement(open=(alert(),)))
    json_log.write(sample(s(10)), NOTHING)
    first, second = file.read_text(encoding="ascii").splitlines()
    told = json.loads(first)
    assert told["at"] == "2026-03-01T12:00:00.000Z"
    assert told["figures"] == {"host_cpu_used_ratio": 0.25, "folder_free_bytes": {hostile.subject: 5_000_000_000}}
    assert told["words"] == {f"folder_free_bytes {hostile.subject}": "slow\nnewline"}
    assert told["alerts"] == [{"rule": "cpu", "subject": "", "severity": "warning", "title": "CPU 93 %, at most 90 %"}]
    assert json.loads(second) == {"at": to_text(s(10)), "figures": {"host_cpu_used_ratio": 0.5}}


@pytest.mark.parametrize("n_files", [1, 3])
def test_the_log_is_begun_anew_when_it_is_full(tmp_path: Path, n_files: int) -> None:
    """So many files are kept, none larger than it may be, every line whole."""
    json_log = JsonLog(tmp_path / "m.jsonl", 1000, n_files)
    for n in range(200):
        json_log.write(sample(s(n)), NOTHING)
    names = ["m.jsonl", *(f"m.jsonl.{n}" for n in range(1, n_files))]
    assert sorted(os.listdir(tmp_path)) == names
    lines = [json.loads(text) for name in reversed(names) for text in (tmp_path / name).read_text().splitlines()]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)
    assert [to_text(s(n)) for n in range(200)][-len(lines) :] == [told["at"] for told in lines]


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And when it can again. Lines go on into a new file where the old one was removed."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "logs" / "m.jsonl"
    json_log = JsonLog(file, 1000, 2)
    json_log.write(sample(s(0)), NOTHING)
    json_log.write(sample(s(1)), NOTHING)
    assert caplog.text.count("cannot be written: No such file") == 1
    file.parent.mkdir()
    json_log.write(sample(s(2)), NOTHING)
    assert caplog.text.count("is written again") == 1
    file.unlink()
    json_log.write(sample(s(3)), NOTHING)
    assert len(file.read_text().splitlines()) == 1


def test_no_half_lines_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that did not fit is taken back: the next one stays readable."""
    file = tmp_path / "m.jsonl"
    json_log = JsonLog(file, 10_000, 2)
    json_log.write(sample(s(0)), NOTHING)
    write = os.write

    def half(file: int, content: bytes) -> int:
        return write(file, content[:10])

    with monkeypatch.context() as full:
        full.setattr(os, "write", half)
        json_log.write(sample(s(1)), NOTHING)
    json_log.write(sample(s(2)), NOTHING)
    assert [json.loads(text)["at"] for text in file.read_text().splitlines()] == [to_text(s(0)), to_text(s(2))]


def test_the_log_has_what_the_history_could_not_keep(tmp_path: Path) -> None:
    """A trouble of one does not reach the other."""
    file = tmp_path / "m.jsonl"
    recording = Recording(MetricsHistory.open(tmp_path / "no" / "metrics.db", CAP), JsonLog(file, 10_000, 2))
    with pytest.raises(HistoryUnavailable):
        recording.add(sample(s(0)), Judgement(open=(alert(),)))
    assert json.loads(file.read_text())["alerts"][0]["rule"] == "cpu"
    recording.close()


def test_both_are_kept(tmp_path: Path) -> None:
    """With the numbers that the history gave."""
    recording = Recording(MetricsHistory.open(tmp_path / "metrics.db", CAP), JsonLog(tmp_path / "m.jsonl", 10_000, 2))
    judged = recording.add(sample(s(0)), Judgement(opened=(alert(),), open=(alert(),)))
    assert judged.opened[0].id == 1
    recording.close()
    assert len(rows_of(tmp_path / "metrics.db", "sample")) == 1
    assert json.loads(line(sample(s(0)), judged)) == json.loads((tmp_path / "m.jsonl").read_text())
