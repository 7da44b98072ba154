"""What the writers of all formats are given: a transcript and the recording that it is of. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.options import JobOptions
from daemon.suspects import Suspect
from daemon.transcript import Segment, Transcript


@dataclass(frozen=True, slots=True)
class Document:
    """A transcript and the recording it is of. *outcome* is ``ok``, ``partial`` or ``no_speech``.

    *suspects* are the stretches to listen to, in order of time; empty too where an earlier version made the document.
    *corrected_by* is who corrected the text last, *corrected_at* when; empty where nobody did.
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
    corrected_by: str = ""
    corrected_at: str = ""

    @property
    def language(self) -> str:
        """The language of the text, which is not that of the speech where it was translated; empty: not known."""
        return "en" if self.options.task == "translate" else self.transcript.language

    @property
    def translated(self) -> Document | None:
        """The translation beside the text, as a document of its own; None where there is none, or it is the text."""
        transcript = self.transcript
        if _texts(transcript.translation) in ((), _texts(transcript.segments)):
            return None
        return replace(
            self,
            transcript=replace(transcript, segments=transcript.translation, translation=()),
            options=replace(self.options, task="translate"),
        )

    @property
    def needs_no_translation(self) -> bool:
        """Whether one was asked for beside the text, which is English."""
        return self.options.task == "both" and self.transcript.language == "en" and self.translated is None


def _texts(segments: tuple[Segment, ...]) -> tuple[str, ...]:
    return tuple(text for text in (" ".join(segment.text.split()) for segment in segments) if text)
