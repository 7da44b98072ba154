import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.engine import weights
from daemon.engine.weights import Embedded
from daemon.errors import ConfigError

FILES = {"model.bin": b"first half, second half", "config.json": b"{}"}


def no_hub(name: str, models_dir: Path, *, allow_download: bool) -> Path:
    """A hub that has nothing, as without a network."""
    if name == "nonsense":
        raise ValueError("Invalid model size")
    raise OSError(f"{name} not in {models_dir}, allow_download={allow_download}")


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    for n, half in enumerate((FILES["model.bin"][:11], FILES["model.bin"][11:]), 1):
        data = tmp_path / "site" / f"tiny_part{n}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").write_text("raise RuntimeError('found, never run')")
        (data / f"model.bin.part{n}").write_bytes(half)
        (data / "config.json").write_bytes(FILES["config.json"])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    return Embedded(("tiny_part1", "tiny_part2"), "tiny-1", sha256)


def find(model: str, models_dir: Path, base: Embedded, *, allow_download: bool = False) -> Path:
    return weights.find(model, models_dir, allow_download=allow_download, fetch=no_hub, known=["base"], base=base)


def test_the_embedded_model_is_joined_once(tmp_path: Path, embedded: Embedded) -> None:
    """The parts become one folder, which later starts use as it is."""
    folder = find("base", tmp_path / "models", embedded)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    before = (folder / "model.bin").stat().st_mtime_ns
    assert find("base", tmp_path / "models", embedded) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny-1"]


def test_many_may_join_at_once(tmp_path: Path, embedded: Embedded) -> None:
    """Whoever is first wins; all get the same whole folder and leave nothing behind."""
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(find, "base", tmp_path / "models", embedded) for _ in range(16)]
    assert {one.result() for one in found} == {tmp_path / "models" / "tiny-1"}
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny-1"]


def test_a_changed_file_is_not_loaded(tmp_path: Path, embedded: Embedded) -> None:
    """The hash is checked at each start; the error names the file and the remedy."""
    folder = find("base", tmp_path / "models", embedded)
    (folder / "model.bin").write_bytes(b"rotten")
    with pytest.raises(ConfigError, match=r"tiny-1/model\.bin.*SHA-256.*remove the folder"):
        find("base", tmp_path / "models", embedded)


def test_a_broken_package_joins_nothing(tmp_path: Path, embedded: Embedded) -> None:
    """A wrong part leaves no folder that a later start would take for good."""
    (tmp_path / "site" / "tiny_part2" / "data" / "model.bin.part2").write_bytes(b"rotten")
    with pytest.raises(ConfigError, match=r"model\.bin.*reinstall the packages tiny_part1, tiny_part2"):
        find("base", tmp_path / "models", embedded)
    assert list((tmp_path / "models").iterdir()) == []
    assert "wrong SHA-256" in (weights.verify_embedded(embedded) or "")


def test_whole_packages_are_verified(embedded: Embedded) -> None:
    """For the doctor: nothing to say about packages that are whole, a remedy for those that are not there."""
    assert weights.verify_embedded(embedded) is None
    missing = Embedded(("not_installed_1", "not_installed_2"), "x", embedded.sha256)
    assert "transcribed[embedded]" in (weights.verify_embedded(missing) or "")


def test_without_the_packages_the_message_says_what_to_do(tmp_path: Path, embedded: Embedded) -> None:
    """Install the extra, or allow the hub."""
    missing = Embedded(("not_installed_1", "not_installed_2"), "x", embedded.sha256)
    with pytest.raises(ConfigError, match=r"transcribed\[embedded\].*allow_download"):
        find("base", tmp_path, missing)


def test_a_model_folder_is_taken_as_it_is(tmp_path: Path, embedded: Embedded) -> None:
    """A local CTranslate2 model is given by its path; a folder that is none says what it lacks."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"mine is no CTranslate2 model: model\.bin missing"):
        find(str(folder), tmp_path, embedded)
    (folder / "model.bin").write_text("x")
    assert find(str(folder), tmp_path, embedded) == folder


@pytest.mark.parametrize(
    ("model", "allow_download", "message"),
    [
        ("large-v3", False, "allow_download = true"),
        ("large-v3", True, "cannot fetch the model 'large-v3' from the model hub"),
        ("nonsense", False, "neither a folder nor a known name.*Known: base"),
    ],
)
def test_a_model_that_cannot_be_had(
    tmp_path: Path, embedded: Embedded, model: str, allow_download: bool, message: str
) -> None:
    """The error says which of the ways to a model is open."""
    with pytest.raises(ConfigError, match=message):
        find(model, tmp_path, embedded, allow_download=allow_download)


def test_an_unwritable_model_folder_is_named(tmp_path: Path, embedded: Embedded) -> None:
    """Something that is in the way of models_dir is the operator's to move."""
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot make the model folder in .*/models"):
        find("base", tmp_path / "models", embedded)
