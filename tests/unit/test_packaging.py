"""The package installs what it should, and collides with nobody."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("daemon", "storage", "monitor")
READ_AT_RUN_TIME = (
    "daemon/canary.flac",
    "daemon/folderpage/page.html",
    *(f"daemon/words/{language}.toml" for language in ("de", "en", "zh")),
    *(f"daemon/web/words/{language}.toml" for language in ("de", "en", "zh")),
    *(f"daemon/web/templates/{name}.html" for name in ("base", "error", "login", "macros")),
    *(f"daemon/web/static/{name}" for name in ("icon.svg", "site.css", "site.js")),
    "monitor/rules/defaults.toml",
    "monitor/prometheus/alerts.yml",
    "monitor/prometheus/thresholds.yml",
    "monitor/grafana/transcribed.json",
)
LOCKS = tuple(f"requirements{part}.lock" for part in ("", "-dev", "-build", "-cuda", "-bench"))


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_else_owns_our_names(package: str) -> None:
    """No other installed distribution brings a top-level package of the same name."""
    assert set(packages_distributions().get(package, [])) <= {"transcribed"}


def test_our_packages_are_imported_from_here() -> None:
    """Seen from another folder, our packages come from this checkout."""
    show = f"import {', '.join(PACKAGES)}; print(*(m.__file__ for m in ({', '.join(PACKAGES)})), sep='\\n')"
    printed = subprocess.run([sys.executable, "-P", "-c", show], cwd="/", capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [str(ROOT / package / "__init__.py") for package in PACKAGES]


def test_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    """The wheel has every file of our three packages, tables and dashboards too, and no test, unit or note."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    assert names == {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert set(READ_AT_RUN_TIME) <= names


def test_console_script_is_installed() -> None:
    """`transcribed` is the entry point of the command line."""
    (script,) = distribution("transcribed").entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("transcribed", "daemon.cli:main")


def test_console_script_works_from_another_folder(tmp_path: Path) -> None:
    """`transcribed --help` needs neither the checkout as current folder nor a configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSCRIBED_")}
    command = [str(Path(sys.executable).parent / "transcribed"), "--help"]
    helped = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "run" in helped.stdout


def _requirement_lines() -> list[str]:
    """The lines of pyproject.toml that name a run-time dependency."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert block
    return block.group(1).splitlines()


def test_each_dependency_has_a_reason() -> None:
    """Every run-time dependency says on its line what it is for."""
    lines = _requirement_lines()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(lines) == len(declared)
    assert [line for line in lines if not re.search(r'",\s+# [\w`/]', line)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_and_hashes_each_package(lock: str) -> None:
    """Every entry has one exact version and at least one SHA-256."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    pinned = re.compile(r"[a-z0-9.-]+==\S+ (; [^-]+)?( *--hash=sha256:[0-9a-f]{64})+ *")
    assert [entry[:60] for entry in entries if not pinned.fullmatch(entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_no_address(lock: str) -> None:
    """Each machine installs from its own index: no URL, no index option, no local path."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "file:" not in text
    assert not re.search(r"^--?(?!hash)[a-z-]*(index|find-links|extra|trusted)", text, re.MULTILINE)


def test_lock_knows_every_dependency() -> None:
    """Each declared run-time dependency, of the pages and the embedded model too, is in requirements.lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        re.split(r"[^A-Za-z0-9-]", line)[0]
        for part in (project["dependencies"], *(project["optional-dependencies"][name] for name in ("embedded", "web")))
        for line in part
    }
    locked = set(
        re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert wanted <= locked


def test_a_server_gets_what_it_runs_and_no_more() -> None:
    """requirements.lock has none of the tools of development; those are locked apart, in the versions of the rest."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    tools = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in groups["dev"]}
    run, dev, build = (_pins(name) for name in LOCKS[:3])
    assert tools & run.keys() == set()
    assert tools <= dev.keys()
    assert "hatchling" in build
    for other in (dev, build):
        assert {name: run[name] for name in run.keys() & other.keys()} == {
            name: other[name] for name in run.keys() & other.keys()
        }


def test_peers_are_locked_and_share_our_versions() -> None:
    """Each package of the bench group is in requirements-bench.lock; what both locks hold, they hold in one version."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    pins = [_pins(name) for name in ("requirements.lock", "requirements-bench.lock")]
    assert {re.split(r"[^A-Za-z0-9-]", line)[0] for line in groups["bench"]} <= pins[1].keys()
    for name in ("ctranslate2", "faster-whisper", "onnxruntime", "tokenizers"):
        assert pins[0][name] == pins[1].get(name, pins[0][name])


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
