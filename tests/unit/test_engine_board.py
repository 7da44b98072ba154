from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from daemon.engine.batching import BatchLimit, Flow
from daemon.engine.board import Board, Task
from daemon.engine.passes import passes_of
from daemon.options import Quality
from tests.unit.whisper_fake import window

N_BYTES = 4 * (32_000 + 200)  # samples and features of a window of two seconds


def task(
    flow: Flow, length_s: float = 2.0, language: str = "en", *, quality: Quality = "fast", listen: bool = False
) -> Task:
    request = window(1.0, length_s, "" if listen else language, quality=quality)
    mel = np.ones((1, round(100 * length_s)), np.float32)
    return Task(request, flow, () if listen else passes_of(quality, 5), mel, 100)


def board_for(n_windows: int, most: int = 8) -> Board:
    return Board(BatchLimit(most), 100_000, n_windows * N_BYTES)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_what_is_put_is_taken_once_in_batches() -> None:
    """Full ones first come, first served."""
    board = board_for(10, most=2)
    flow = Flow()
    tasks = [task(flow) for _ in range(3)]
    for one in tasks:
        board.put(one)
    assert board.take() == tasks[:2]
    assert board.take() == tasks[2:]


def test_a_full_board_lets_a_recording_wait(threads: ThreadPoolExecutor) -> None:
    """Until one of the windows on it is finished; taken is not enough, as the model still holds it."""
    board = board_for(2, most=1)
    flow = Flow()
    for _ in range(2):
        board.put(task(flow))
    late = task(flow)
    putting = threads.submit(board.put, late)
    (first,) = board.take()
    assert not wait([putting], timeout=0.02).done
    board.finished(first)
    putting.result(5)
    board.take()
    assert board.take() == [late]


def test_a_full_board_takes_the_only_window_of_a_recording() -> None:
    """A memo does not wait for the meeting that fills the board, and no window is too large to be heard."""
    board = board_for(1)
    board.put(task(Flow()))
    memo = task(Flow(), length_s=3.0)
    board.put(memo)
    assert memo in (*board.take(), *board.take())


def test_taking_waits_for_a_window(threads: ThreadPoolExecutor) -> None:
    """A lane sleeps while there is nothing to do."""
    board = board_for(2)
    taking = threads.submit(board.take)
    assert not wait([taking], timeout=0.02).done
    one = task(Flow())
    board.put(one)
    assert taking.result(5) == [one]


def test_a_window_that_comes_back_keeps_its_turn() -> None:
    """Its next pass is before the windows that came after it."""
    board = board_for(10, most=1)
    flow = Flow()
    first, second = task(flow), task(flow)
    board.put(first)
    board.put(second)
    assert board.take() == [first]
    first.passes = first.passes[1:]
    board.back(first)
    assert board.take() == [first]


def test_the_windows_of_a_recording_that_is_over_are_forgotten(threads: ThreadPoolExecutor) -> None:
    """Their room is free, whoever waited for one hears of it, and those of others stay."""
    board = board_for(3)
    over, other = Flow(), Flow()
    forgotten = [task(over), task(over, listen=True)]
    kept = task(other)
    for one in (*forgotten, kept):
        board.put(one)
    late = task(other)
    putting = threads.submit(board.put, late)
    assert not wait([putting], timeout=0.02).done
    board.drop(over)
    putting.result(5)
    assert isinstance(forgotten[0].decoded.exception(0), InterruptedError)
    assert isinstance(forgotten[1].languages.exception(0), InterruptedError)
    assert board.take() == [kept, late]


def test_a_window_of_a_recording_that_is_over_has_no_further_pass() -> None:
    """The model has better to do, and the room of the window is free."""
    board = board_for(1)
    one, other = task(Flow()), task(Flow())
    board.put(one)
    board.put(other)
    assert board.take() == [one, other]
    board.drop(one.flow)
    board.back(one)
    board.back(other)
    assert isinstance(one.decoded.exception(0), InterruptedError)
    assert board.take() == [other]


def test_what_the_model_has_of_a_recording_that_is_over_is_finished() -> None:
    """Its room is free then, and not before."""
    board = board_for(2, most=1)
    over = Flow()
    board.put(task(over))
    board.put(task(over))
    (inside,) = board.take()
    board.drop(over)
    assert not inside.decoded.done()
    board.finished(inside)
    for _ in range(2):
        board.put(task(over))


def test_a_closed_board_is_emptied_first(threads: ThreadPoolExecutor) -> None:
    """Then every lane is sent home."""
    board = board_for(3, most=1)
    one = task(Flow())
    board.put(one)
    board.close()
    assert board.take() == [one]
    assert board.take() == []
    waiting = board_for(1)
    lanes = [threads.submit(waiting.take) for _ in range(2)]
    waiting.close()
    assert [lane.result(5) for lane in lanes] == [[], []]


def test_many_threads_lose_nothing(threads: ThreadPoolExecutor) -> None:
    """Four recordings wait for room again and again; each of their windows is taken once."""
    board = board_for(6)

    def put() -> None:
        flow = Flow()
        for n in range(50):
            board.put(task(flow, length_s=2.0 if n % 2 else 1.0))

    putting = [threads.submit(put) for _ in range(4)]
    taken: set[Task] = set()
    while len(taken) < 200:
        batch = board.take()
        assert taken.isdisjoint(batch)
        taken.update(batch)
        for one in batch:
            board.finished(one)
    for ended in putting:
        ended.result(5)


def test_a_task_says_what_is_asked_of_it() -> None:
    """Its language while that is unknown; then its text, in the first of the passes that are left."""
    heard = task(Flow(), language="")
    assert heard.ask.way is None
    assert task(Flow(), listen=True).ask.way is None
    assert task(Flow()).ask.way == passes_of("fast", 5)[0]
    assert heard.key == task(Flow(), listen=True).key != task(Flow()).key
    assert heard.n_bytes == N_BYTES


@pytest.mark.parametrize("quality", ["fast", "careful", "faithful"])
@pytest.mark.parametrize("length_s", [1.0, 2.0, 12.0, 29.0])
def test_a_language_is_asked_of_what_the_first_pass_sees(quality: Quality, length_s: float) -> None:
    """So the text can be asked for from the same output, whether or not it is to be asked for in the same turn."""
    n_frames = passes_of(quality, 5)[0].n_frames(round(100 * length_s), 100)
    assert task(Flow(), length_s, quality=quality, listen=True).n_frames == n_frames
    assert task(Flow(), length_s, language="", quality=quality).n_frames == n_frames
    assert task(Flow(), length_s, quality=quality).n_frames == n_frames
