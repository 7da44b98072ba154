"""Who may log in with a password, and which programs may with a token: two files, a line for each.

``NAME:ROLE:HASH``. Passwords are hashed by Argon2id, tokens, which are random, by SHA-256. The door to argon2.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import argon2

from daemon.web.access.visitor import Role

MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 1000
"""Characters. The least is NIST's 8 (SP 800-63B) and two more, as nothing else is asked of it."""

TOKEN_PREFIX: Final = "tr_"  # noqa: S105  # in front of each
"""How tokens begin, for people and programs that look for secrets where none should be."""

_NAME: Final = re.compile(r"[\w.@+-]{1,64}")

# OWASP's choice for Argon2id (password storage cheat sheet): 19 MiB, so that a crowd at the door costs no memory.
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or some program; *secret* is the hash of what they show."""

    name: str
    role: Role
    secret: str


def valid_name(name: str) -> bool:
    """Whether *name* can be that of a person or a token."""
    return _NAME.fullmatch(name) is not None


def parse(text: str) -> Mapping[str, Person]:
    """Who is in a file with *text*, by name. Lines that say nothing are left out: nobody is let in by them."""
    found: dict[str, Person] = {}
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        role, _, secret = rest.partition(":")
        if valid_name(name) and role in tuple(Role) and secret:
            found[name] = Person(name, Role(role), secret)
    return found


def written(people: Mapping[str, Person], about: str) -> str:
    """The text of a file with *people*; *about* is its first line."""
    lines = [f"{person.name}:{person.role}:{person.secret}" for person in people.values()]
    return "\n".join([f"# {about}", *lines]) + "\n"


def hashed_password(password: str) -> str:
    """What is written for *password*. Takes some 50 ms, on purpose."""
    return _HASHER.hash(password)


def is_password(password: str, person: Person | None) -> bool:
    """Whether it is that of *person*. Takes as long where there is no such person."""
    try:
        _HASHER.verify(person.secret if person is not None else _nobody(), password[:MAX_PASSWORD])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return person is not None


@cache
def _nobody() -> str:
    return _HASHER.hash(secrets.token_hex(16))


def new_token() -> str:
    """A token that nobody can guess: 256 bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hashed_token(token: str) -> str:
    """What is written for *token*."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def by_token(token: str, people: Mapping[str, Person]) -> Person | None:
    """Whose *token* is; the time that it takes tells nothing about those that there are."""
    hashed, found = hashed_token(token), None
    for person in people.values():
        if secrets.compare_digest(hashed, person.secret.partition(":")[0]):
            found = person
    return found
