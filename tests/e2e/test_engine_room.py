"""The memory of the real engine: given back when nobody asks, shared out among models, not eaten up by jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from daemon.engine.client import Engine, EngineSettings, Request
from daemon.options import JobOptions
from tests.recordings import Clip, ask, faster, request, resident_mb, running

N_WARM: Final = 50
N_MORE: Final = 100
MAX_MB_PER_JOB: Final = 1.0


def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s for {what}"
        time.sleep(0.05)


def pid_of(engine: Engine) -> int:
    pid = engine.status().pid
    assert pid is not None
    return pid


def copy_of(model: Path, folder: Path) -> str:
    """The same model in another place: to the engine, another model."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).symlink_to(file)
    return str(folder)


def test_an_idle_model_gives_its_memory_back_and_comes_again(
    models_dir: Path, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """Its process is gone after the idle time; the next recording starts another and has the same words."""
    wanted = request(tmp_path, "memo", clips["memo"].sound, JobOptions())
    with running(EngineSettings(models_dir, device="cpu", idle_unload_s=0.5)) as engine:
        first = ask(engine, wanted)
        pid = pid_of(engine)
        until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the idle process")
        until(lambda: engine.status().state == "unloaded", "the engine to know it")
        assert engine.status().pid is None
        assert ask(engine, wanted) == first
        assert first.text
        assert engine.status().n_restarts == 0


def test_two_models_stay_loaded_and_the_least_used_makes_way(
    models_dir: Path, clips: Mapping[str, Clip], tmp_path: Path
) -> None:
    """With room for two, two processes run side by side; a third model ends the one that was not used last."""
    sound = clips["memo"].sound
    with running(EngineSettings(models_dir, device="cpu", max_models=2)) as engine:
        engine.start("base")
        embedded = next(models_dir.glob("base-*"))
        copies = [copy_of(embedded, tmp_path / name) for name in ("second", "third")]
        wanted = {
            model: request(tmp_path, Path(model).name, sound, JobOptions(model=model)) for model in ("base", *copies)
        }
        with ThreadPoolExecutor(2) as pool:
            ends = list(pool.map(ask, (engine, engine), (wanted["base"], wanted[copies[0]])))
        assert {end.text for end in ends} == {ends[0].text} != {""}
        assert [end.transcript.model for end in ends if end.transcript] == ["base", copies[0]]
        pids = {seat.model: seat.pid for seat in engine.status().seats}
        assert set(pids) == {"base", copies[0]}
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids.values())
        ask(engine, wanted["base"])
        assert ask(engine, wanted[copies[1]]).text == ends[0].text
        after = {seat.model: seat.pid for seat in engine.status().seats}
        assert after["base"] == pids["base"]
        assert set(after) == {"base", copies[1]}
        assert not os.path.exists(f"/proc/{pids[copies[0]]}")


@pytest.mark.fault(49, "many jobs in the real engine")
def test_jobs_leave_no_memory_behind(models_dir: Path, clips: Mapping[str, Clip], tmp_path: Path) -> None:
    """After fifty short recordings another hundred cost less than a megabyte each."""

    def short(n: int) -> Request:
        clip = clips[("meeting", "phone-call", "studio")[n % 3]]
        sound = faster(clip.sound[: (27_000, 29_000, 55_200)[n % 3]], 0.97 + 0.01 * (n % 7))
        return request(tmp_path, f"short-{n}", sound, JobOptions(language="en"))

    with running(EngineSettings(models_dir, device="cpu")) as engine, ThreadPoolExecutor(40) as pool:
        engine.start("base")

        def work(numbers: range) -> float:
            """What the engine has in memory after these recordings."""
            asked = [pool.submit(ask, engine, short(n)) for n in numbers]
            assert not [error for one in asked if (error := one.result().error)]
            return resident_mb(pid_of(engine))

        before_mb = work(range(N_WARM))
        after_mb = work(range(N_WARM, N_WARM + N_MORE))
        assert engine.status().n_restarts == 0
    assert after_mb - before_mb < MAX_MB_PER_JOB * N_MORE
