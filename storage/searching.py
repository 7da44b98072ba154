"""Who spoke of something, and when: full-text search over the transcripts. Reads only, whoever asks the database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from storage.scripts import spaced, unspaced
from storage.texts import utc_text

MAX_TERMS: Final = 32
MAX_CHARS: Final = 1000
"""More is no question of a person, and SQLite's parser has limits of its own."""

MARKS: Final = ("\x02", "\x03")
"""Before and behind what was found in `Hit.marked`; no text holds them."""

Execute = Callable[[str, Mapping[str, object]], Iterable[Sequence[Any]]]
"""Asks the database: a statement with named parameters in, rows out."""

_NEWEST: Final = 2**63 - 1
_WORD: Final = re.compile(r"[^\W_]")

# ORDER BY rowid lets FTS5 walk backwards and stop at the limit; rows are numbered in the order of publication.
_QUERY: Final = """
SELECT job.id, file.path, job.finished_at, segment.number, segment.start_s, segment.end_s,
       segment.suspect, highlight(segment_search, 0, char(2), char(3)), segment.id, segment.speaker
FROM segment_search
CROSS JOIN segment ON segment.id = segment_search.rowid
CROSS JOIN job ON job.id = segment.job_id
CROSS JOIN file ON file.id = job.file_id
WHERE segment_search MATCH :match AND segment_search.rowid > :after AND segment_search.rowid < :before
  AND job.state = 'done'
  AND (:since IS NULL OR job.finished_at >= :since)
  AND (:folder IS NULL OR substr(file.path, 1, length(:folder)) = :folder)
  AND NOT EXISTS (
      SELECT 1 FROM job AS later
      WHERE later.file_id = job.file_id AND later.id > job.id AND +later.state = 'done' AND later.outcome <> 'duplicate'
  )
ORDER BY segment_search.rowid DESC
LIMIT :limit
"""


class NothingToFind(ValueError):
    """Raised when a question holds no word, or too many; the message is fit for a person."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A line in which all words of the question are, in the newest transcript of a recording.

    *id* counts all lines of all transcripts in the order of their publication.
    """

    job_id: int
    path: bytes
    finished_at: datetime
    number: int
    start_s: float
    end_s: float
    suspect: str
    marked: str
    id: int = 0
    speaker: str = ""

    @property
    def text(self) -> str:
        """The line without the marks."""
        return self.marked.replace(MARKS[0], "").replace(MARKS[1], "")


def match_of(words: Sequence[str]) -> str:
    """*words* in the language of FTS5, whatever they hold. All must be in the line.

    One with a space in it, or between double quotes, is a phrase; a star at the end stands for any ending. Nothing
    else has a meaning. Raises NothingToFind.
    """
    terms = [term for word in words for term in _terms(word) if _WORD.search(term)]
    if not terms:
        raise NothingToFind("there is no letter or digit to search for")
    if len(terms) > MAX_TERMS or sum(map(len, terms)) > MAX_CHARS:
        raise NothingToFind(f"at most {MAX_TERMS} words and {MAX_CHARS} characters can be searched for at once")
    return " ".join(_quoted(term) for term in terms)


def _terms(word: str) -> Iterator[str]:
    if '"' not in word:
        yield word
        return
    for index, part in enumerate(word.split('"')):
        yield from [part] if index % 2 else part.split()


def _quoted(term: str) -> str:
    plain = spaced(term.encode("utf-8", "replace").decode()).replace("\0", " ")
    return f'"{plain}"' + ("*" if term.endswith("*") else "")


def search(
    execute: Execute,
    words: Sequence[str],
    limit: int,
    folder: bytes | None = None,
    since: datetime | None = None,
    before: int | None = None,
    after: int = 0,
) -> list[Hit]:
    """The newest *limit* hits, the recording that was transcribed last first, lines of a recording in order of time.

    *folder* and what is below it; transcripts done at *since* or later; lines with a number below *before* and
    above *after*. Raises NothingToFind.
    """
    found = execute(
        _QUERY,
        {
            "match": match_of(words),
            "folder": folder.rstrip(b"/") + b"/" if folder is not None else None,
            "since": utc_text(since) if since is not None else None,
            "limit": limit,
            "before": _NEWEST if before is None else before,
            "after": after,
        },
    )
    hits = [
        Hit(job_id, path, datetime.fromisoformat(at), n, start_s, end_s, suspect, unspaced(marked), line_id, speaker)
        for job_id, path, at, n, start_s, end_s, suspect, marked, line_id, speaker in found
    ]
    rank: dict[int, int] = {}
    for hit in hits:
        rank.setdefault(hit.job_id, len(rank))
    return sorted(hits, key=lambda hit: (rank[hit.job_id], hit.number))
