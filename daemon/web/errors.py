"""What a page or the API answers with instead of what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class Declined(Exception):
    """Raised in a page or the API: the answer is *status* with the sentences ``error.KEY_title`` and ``_text``.

    *text*, if given, is said instead of the latter; it must be in the visitor's language, or for programs. *newest* is
    for programs: the version that a correction should have been made of.
    """

    def __init__(self, status: int, key: str = "", text: str = "", *, newest: int | None = None) -> None:
        super().__init__(text or key or str(status))
        self.newest = newest
        self.status = status
        self.key = key or KEYS.get(status, "bad" if status < 500 else "bug")
        self.text = text


KEYS: Final = {
    400: "bad",
    401: "login",
    403: "refused",
    404: "gone",
    405: "bad",
    409: "bad",
    413: "large",
    429: "often",
    500: "bug",
    503: "busy",
}


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What `error.html` shows."""

    title: str
    text: str
