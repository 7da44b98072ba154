"""Snapshots, the mending of a damaged history, and what is held back for a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage import mending, snapshots
from storage.connection import open_writer
from storage.errors import StorageDamaged, StorageError, StorageUnavailable
from storage.jobs import JobStore
from storage.mending import Identity, mend, set_aside, set_aside_log
from storage.records import Fingerprint, JobState, NewJob
from storage.reserve import Reserve
from storage.snapshots import DAILY, RESCUE, Snapshots, check, standing

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)


def new(number: int) -> NewJob:
    return NewJob(b"/inbox/%d" % number, b"/inbox", Fingerprint(1, 2, 3, 4, number), {"model": "base"}, "d")


def history(path: Path, n_jobs: int) -> JobStore:
    store = JobStore.open(path, "me")
    store.enqueue([new(number) for number in range(n_jobs)], AT)
    return store


def n_jobs(path: Path) -> int:
    store = JobStore.open(path, "me")
    count = store.counts()[JobState.QUEUED]
    store.close()
    return count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def test_a_snapshot_is_a_whole_database_of_its_own(path: Path) -> None:
    """It has every committed row, also those that are only in the log, no log of its own, and can be written."""
    store = history(path, 30)
    snapshot = Snapshots.beside(path).take()
    store.enqueue([new(100)], AT)
    assert check(snapshot) == 30
    assert standing(snapshot, [7, 99]) == {7: (0, JobState.QUEUED), 30: (0, JobState.QUEUED)}, "the newest too"
    assert snapshot.stat().st_mode & 0o137 == 0
    assert os.listdir(snapshot.parent) == [snapshot.name]
    store.close()
    assert n_jobs(snapshot) == 30


def test_snapshots_are_pruned_by_kind_and_number(path: Path) -> None:
    """The newest daily ones stay, and two of the others; the order is their number, whatever the clock said."""
    history(path, 1).close()
    copies = Snapshots.beside(path)
    for kind in (DAILY, "schema-1", DAILY, DAILY, RESCUE, "schema-2"):
        copies.take(kind)
    oldest = copies.all()[-1]
    oldest.path.rename(oldest.path.with_name("000001-20990101T000000Z-daily.db"))
    assert [snapshot.number for snapshot in copies.all()] == [6, 5, 4, 3, 1], "a start that fails fills no disk"
    copies.prune(2)
    assert [(snapshot.number, snapshot.kind) for snapshot in copies.all()] == [
        *((6, "schema-2"), (5, "rescue"), (4, "daily"), (3, "daily"))
    ]


def test_a_snapshot_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is not sound does not count, and what a killed one left goes with the next."""
    store = history(path, 1)

    def unsound(part: Path) -> int:
        raise StorageDamaged(f"{part} is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "check", unsound)
        with pytest.raises(StorageDamaged):
            Snapshots.beside(path).take()
    folder = path.parent / "snapshots"
    assert os.listdir(folder) == []
    (folder / "000009-20250101T000000Z-daily.part").write_bytes(b"half")
    snapshot = Snapshots.beside(path).take()
    assert os.listdir(folder) == [snapshot.name]
    store.close()


def test_a_snapshot_folder_that_cannot_be_made_is_reported(path: Path) -> None:
    """In words, with the folder."""
    store = history(path, 1)
    (path.parent / "snapshots").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="snapshots"):
        Snapshots.beside(path).take()
    store.close()


def test_an_open_history_without_a_name_can_be_copied(path: Path) -> None:
    """What was written after its file was deleted is in the copy too."""
    store = history(path, 3)
    path.unlink()
    store.enqueue([new(100)], AT)
    copy = store.rescue()
    store.close()
    assert check(copy) == 4


def test_a_sound_history_is_left_alone(path: Path) -> None:
    """Nothing is mended where nothing is wrong, and a first start is not a loss."""
    assert mend(path, expected=False) is None
    history(path, 3).close()
    content = path.read_bytes()
    assert mend(path, expected=True) is None
    assert path.read_bytes() == content
    assert not list(path.parent.glob("*damaged*"))


def damage_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 3000)


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.fault(30, "bytes flipped, file cut, header zeroed")
@pytest.mark.parametrize("damage", [damage_page, damage_header, truncate, zero, empty, Path.unlink])
def test_a_damaged_history_is_set_aside_and_a_snapshot_takes_its_place(path: Path, damage: object) -> None:
    """The damaged file is kept byte for byte; the snapshot stays where it is, and its copy works."""
    history(path, 200).close()
    copies = Snapshots.beside(path)
    snapshot = copies.take()
    store = JobStore.open(path, "me")
    store.enqueue([new(1000)], AT)
    store.close()
    assert callable(damage)
    damage(path)
    content = path.read_bytes() if path.exists() else None
    mended = mend(path, expected=False)
    assert mended is not None
    assert mended.snapshot is not None
    assert mended.snapshot.path == snapshot
    assert (mended.set_aside.read_bytes() if mended.set_aside else None) == content
    assert n_jobs(path) == 200
    assert check(snapshot) == 200
    assert mend(path, expected=True) is None


def test_a_damaged_log_goes_with_its_database(path: Path) -> None:
    """A log that is left behind would be read into the snapshot; both are renamed, and neither is lost."""
    history(path, 50).close()
    Snapshots.beside(path).take()
    store = history(path, 1)
    files = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
    store.close()
    for suffix, content in files.items():
        Path(f"{path}{suffix}").write_bytes(content)
    zero(path)
    mended = mend(path, expected=False)
    assert mended is not None
    assert mended.set_aside is not None
    assert Path(f"{mended.set_aside}-wal").read_bytes() == files["-wal"]
    assert not Path(f"{path}-wal").exists()
    assert n_jobs(path) == 50


def test_a_snapshot_that_is_damaged_or_newer_is_passed_over(path: Path) -> None:
    """The newest one that is sound and that this program can read takes the place."""
    store = history(path, 5)
    copies = Snapshots.beside(path)
    good, bad, newer = copies.take(), copies.take(), copies.take()
    store.close()
    damage_header(bad)
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    path.unlink()
    mended = mend(path, expected=False)
    assert mended is not None
    assert mended.snapshot is not None
    assert mended.snapshot.path == good
    assert n_jobs(path) == 5


@pytest.mark.fault(30, "no snapshot")
def test_without_a_snapshot_a_damaged_history_is_begun_anew(path: Path) -> None:
    """It is set aside all the same; a file that is gone counts as lost only where there is proof of it."""
    path.write_bytes(b"rubbish" * 1000)
    mended = mend(path, expected=False)
    assert mended is not None
    assert mended.snapshot is None
    assert mended.set_aside is not None
    assert mended.set_aside.read_bytes() == b"rubbish" * 1000
    gone = mend(path, expected=True)
    assert gone is not None
    assert (gone.problem, gone.set_aside) == ("the file is gone", None)
    assert n_jobs(path) == 0


def test_damaged_files_do_not_overwrite_each_other(path: Path) -> None:
    """Two in one second get names of their own."""
    for content in (b"one" * 100, b"two" * 100):
        path.write_bytes(content)
        mend(path, expected=False)
    aside = sorted(file.read_bytes()[:3] for file in path.parent.glob("*damaged*"))
    assert aside == [b"one", b"two"]


def cut_short(path: Path) -> None:
    """Leave a database as a crash does in its first moments: a transaction half written, its journal beside it."""
    with closing(sqlite3.connect(path.with_name("made.db"), isolation_level=None)) as making:
        making.execute("PRAGMA cache_size = 1")
        making.execute("CREATE TABLE note (text)")
        making.execute("BEGIN")
        making.executemany("INSERT INTO note VALUES (?)", [("x" * 3000,)] * 50)
        for suffix in ("", "-journal"):
            shutil.copyfile(path.with_name(f"made.db{suffix}"), path.with_name(path.name + suffix))


def test_a_transaction_that_a_crash_cut_short_before_there_was_a_log_is_undone(path: Path) -> None:
    """A reader that may not write cannot do that, and would keep every start from going on."""
    cut_short(path)
    with pytest.raises(StorageUnavailable, match="readonly"):
        check(path)
    assert mend(path, expected=False) is None
    assert check(path) == 0
    assert not path.with_name(path.name + "-journal").exists()


def test_a_journal_goes_with_its_database(path: Path) -> None:
    """Left behind, it would be rolled into whatever takes the place of the database."""
    cut_short(path)
    aside = set_aside(path)
    assert aside is not None
    assert aside.with_name(aside.name + "-journal").exists()
    assert not path.exists()
    assert not path.with_name(path.name + "-journal").exists()


def test_a_check_that_takes_too_long_is_cut_short(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is not held up for ever: what could not be looked at counts as sound."""
    monkeypatch.setattr(snapshots, "_STEPS_BETWEEN_LOOKS", 1)
    history(path, 500).close()
    assert check(path, -1.0) == 500


def test_trouble_of_the_disk_is_no_damage(path: Path) -> None:
    """A file that cannot be read is not set aside: its content may be sound."""
    path.mkdir()
    with pytest.raises(StorageError):
        mend(path, expected=True)
    assert path.is_dir()


def test_the_log_of_a_replaced_history_is_not_read_into_the_new_one(path: Path) -> None:
    """Ours goes aside, and one that belongs to what lies there now stays."""
    store = history(path, 3)
    identity = Identity.of(path)
    other = path.with_name("other.db")
    history(other, 1).close()
    other.rename(path)
    assert Path(f"{path}-wal").exists()
    store.close()
    set_aside_log(path, identity)
    assert not Path(f"{path}-wal").exists()
    assert n_jobs(path) == 1
    Path(f"{path}-wal").write_bytes(b"of another")
    set_aside_log(path, identity)
    assert Path(f"{path}-wal").read_bytes() == b"of another"


def test_a_reserve_takes_up_its_room_until_it_is_released(tmp_path: Path) -> None:
    """Real blocks, not a hole; released once, it makes room once."""
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert not reserve.held
    assert reserve.make()
    assert reserve.held
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    assert reserve.release()
    assert not reserve.release()
    assert not reserve.held


@pytest.mark.fault(18, "a full disk")
def test_a_reserve_is_not_made_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where four times its size is free, and nothing is left of one that could not be made."""
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    status = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize = (4 << 20) // status.f_frsize - 1, status.f_frsize

    def statvfs(folder: Path) -> type[Full]:
        return Full

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", statvfs)
        assert not reserve.make()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert not reserve.make()
    assert os.listdir(tmp_path) == []


def test_no_reserve_is_always_held(tmp_path: Path) -> None:
    """Of no bytes: nothing is made, nothing can be released."""
    reserve = Reserve(tmp_path / "reserve", 0)
    assert reserve.held
    assert reserve.make()
    assert not reserve.release()
    assert os.listdir(tmp_path) == []


def test_a_snapshot_of_an_older_schema_is_migrated_after_the_mending(path: Path) -> None:
    """The newest copy may be from before an upgrade."""
    dump = Path(__file__).parent.parent / "data" / "schemas" / "v1.sql"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    Snapshots.beside(path).take()
    damage_header(path)
    assert mend(path, expected=False) is not None
    store = JobStore.open(path, "me")
    assert sum(store.counts().values()) == 11
    store.close()


@pytest.mark.fault(18, "ENOSPC while it is rebuilt")
def test_a_rebuild_that_runs_out_of_disk_is_done_by_the_next_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damaged file is aside, no half copy is in its place, and the error says what to do."""
    history(path, 4).close()
    Snapshots.beside(path).take()
    damage_header(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(StorageUnavailable, match="make room"):
            mend(path, expected=False)
    assert not path.exists()
    assert mend(path, expected=False) is not None
    assert n_jobs(path) == 4
    assert mending.CHECK_LIMIT_S < 300  # TimeoutStartSec of the unit
    open_writer(path).dispose()
