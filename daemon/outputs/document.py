"""What the writers of all formats are given: a transcript and the recording that it is of. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.options import JobOptions
from daemon.suspects import Suspect
from daemon.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Document:
    """A transcript and the recording it is of. *outcome* is ``ok``, ``partial`` or ``no_speech``.

    *suspects* are the stretches to listen to, in order of time; empty too where an earlier version made the document.
    """

    transcript: Transcript
    options: JobOptions
    recording: str
    source_sha256: str
    audio_s: float
    declared_s: float | None
    outcome: str
    notice: str
    made_by: str
    made_at: str
    suspects: tuple[Suspect, ...] = ()

    @property
    def language(self) -> str:
        """The language of the text, which is not that of the speech where it was translated; empty: not known."""
        return "en" if self.options.task == "translate" else self.transcript.language
