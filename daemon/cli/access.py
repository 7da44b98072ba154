"""``transcribed web-user`` and ``web-token``: who may come to the pages. A running daemon sees each change at once."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from daemon.cli import exits
from daemon.cli.common import loaded
from daemon.config import Config
from daemon.errors import TranscribedError
from daemon.web.access import people, secret_file
from daemon.web.access.visitor import Role

Kind = Literal["user", "token"]

_ABOUT = {
    "user": "Who may log in to the pages of transcribed: NAME:ROLE:HASH. Change it by: transcribed web-user",
    "token": "Which programs may use the API of transcribed: NAME:ROLE:HASH. Change it by: transcribed web-token",
}


def add_user(file: Path | None, name: str, role: str) -> int:
    """Somebody who may log in, or a new password or role for them; the exit code."""
    _check(name)
    path = _path(loaded(file).config, "user")
    known = _read(path)
    password = _password(name)
    known[name] = people.Person(name, Role(role), people.hashed_password(password))
    _write(path, known, "user")
    print(f"{name} may log in now ({_may(role)}); {path}")
    _hint(loaded(file).config)
    return exits.OK


def add_token(file: Path | None, name: str, role: str) -> int:
    """A token for a program, which is printed this once; the exit code."""
    _check(name)
    path = _path(loaded(file).config, "token")
    known = _read(path)
    if name in known:
        raise TranscribedError(
            f"{name}: there is a token of that name; remove it first: transcribed web-token remove {name}"
        )
    token = people.new_token()
    known[name] = people.Person(name, Role(role), people.hashed_token(token))
    _write(path, known, "token")
    print(token)
    print(f"This is shown only now. {name} {_may(role)}. Send it as: Authorization: Bearer ...", file=sys.stderr)
    return exits.OK


def remove(file: Path | None, kind: Kind, name: str) -> int:
    """Who had that name may come no more, and their sessions end; the exit code."""
    path = _path(loaded(file).config, kind)
    known = _read(path)
    if known.pop(name, None) is None:
        raise TranscribedError(f"{name}: not in {path}")
    _write(path, known, kind)
    print(f"{name} was removed")
    return exits.OK


def show(file: Path | None, kind: Kind) -> int:
    """Print the names and roles; the exit code."""
    for person in _read(_path(loaded(file).config, kind)).values():
        print(f"{person.role:<5} {person.name}")
    return exits.OK


def _check(name: str) -> None:
    if not people.valid_name(name):
        raise TranscribedError(f"{name!r}: a name is made of at most 64 letters, digits and . _ @ + -")


def _path(config: Config, kind: Kind) -> Path:
    path = config.users_file if kind == "user" else config.tokens_file
    if not path.parent.is_dir():
        raise TranscribedError(f"{path.parent}: no such folder yet; it is made when the service first runs")
    return path


def _read(path: Path) -> dict[str, people.Person]:
    try:
        return dict(people.parse(secret_file.read(path)))
    except secret_file.UnsafeFile as error:
        raise TranscribedError(str(error)) from None


def _write(path: Path, known: dict[str, people.Person], kind: Kind) -> None:
    try:
        secret_file.write(path, people.written(known, _ABOUT[kind]))
    except OSError as error:
        raise TranscribedError(f"{path}: cannot be written: {error.strerror}") from error


def _password(name: str, ask: Callable[[str], str] = getpass.getpass) -> str:
    """As it is typed twice; the first line of what is piped in, for scripts."""
    password = ask(f"Password for {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not people.MIN_PASSWORD <= len(password) <= people.MAX_PASSWORD:
        raise TranscribedError(
            f"a password has {people.MIN_PASSWORD} to {people.MAX_PASSWORD} characters; nothing was changed"
        )
    if sys.stdin.isatty() and ask("Again: ") != password:
        raise TranscribedError("these are not the same; nothing was changed")
    return password


def _may(role: str) -> str:
    return "may look and act" if role == "act" else "may look"


def _hint(config: Config) -> None:
    if "password" not in config.web.login:
        print('Nobody is asked yet: that takes login = ["password"] in [web]', file=sys.stderr)
