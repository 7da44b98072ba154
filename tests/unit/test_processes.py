import resource

import pytest

from daemon.config import Config, DecodeConfig, EngineConfig
from daemon.processes import n_in_hand


def limit_files(monkeypatch: pytest.MonkeyPatch, n_files: int) -> None:
    def getrlimit(_what: int) -> tuple[int, int]:
        return n_files, n_files

    monkeypatch.setattr(resource, "getrlimit", getrlimit)


@pytest.mark.parametrize(
    ("device", "max_models", "expected"), [("auto", 1, 34), ("cuda:0,1", 1, 66), ("cuda:0,1", 2, 130)]
)
def test_as_many_in_hand_as_the_engines_take_and_the_decoders(
    monkeypatch: pytest.MonkeyPatch, device: str, max_models: int, expected: int
) -> None:
    """The next recordings are decoded while the model works on others."""
    limit_files(monkeypatch, 8192)
    engine = EngineConfig(device=device, max_open=32, max_models=max_models)
    assert n_in_hand(Config(engine=engine, decode=DecodeConfig(workers=2))) == expected


@pytest.mark.parametrize(("n_files", "expected"), [(1024, 258), (400, 66), (256, 18), (100, 1)])
def test_open_files_bound_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, n_files: int, expected: int
) -> None:
    """Fewer recordings at once instead of errors; the operator is told how to have more."""
    limit_files(monkeypatch, n_files)
    assert n_in_hand(Config(engine=EngineConfig(max_open=256))) == expected
    assert ("LimitNOFILE" in caplog.text) == (expected < 258)


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """RLIM_INFINITY is a negative number in Python."""
    limit_files(monkeypatch, resource.RLIM_INFINITY)
    assert n_in_hand(Config()) == 34
