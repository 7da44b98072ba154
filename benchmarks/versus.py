"""The same recordings through us and through peers, in turns: ``memos`` (to 40 s) or ``long`` (from 10 minutes).

    python -m benchmarks.versus memos|long [CORPUS] [--repeats 3] [--only ours,fw-sequential] [--minutes 5]

Writes ``memos-DEVICE.json`` or ``long-DEVICE.json``, prints the table. A peer that is not installed, or fails, is
listed with the reason.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import corpus, match, roster, stage


def main() -> int:
    """Run the match; 2 if there is nothing to transcribe."""
    parser = stage.parser(__doc__)
    parser.add_argument("--texts", type=Path, help="write what each heard to this file, as JSON")
    parser.add_argument("--least-minutes", type=float, default=10.0, help="long: no shorter recording (default: 10)")
    parser.add_argument("--recordings", type=int, default=2, help="long: how many (default: 2)")
    kind, *rest = sys.argv[1:] or [""]
    if kind not in ("memos", "long"):
        parser.error("say first what: memos or long")
    arguments = parser.parse_args(rest)
    with stage.staged(arguments) as ready:
        if kind == "memos":
            clips = corpus.memos(ready.clips, 60.0 * arguments.minutes)
        else:
            clips = corpus.long_recordings(
                ready.clips,
                ready.long_clips,
                ready.folder,
                n_most=max(1, arguments.recordings),
                min_s=60.0 * arguments.least_minutes,
            )
        if not clips:
            print("no recording in this corpus has a reference, a language and a fitting length", file=sys.stderr)
            return 2
        outcome = match.play(roster.chosen(_names(arguments.only)), clips, ready.plan, warm_up=ready.clips)
        rows = [match.row(played, clips) for played in outcome.played]
        stage.finish(ready.result(kind, outcome, clips, rows), arguments.results)
        if arguments.texts:
            heard = {played.entry.name: played.texts[0] for played in outcome.played}
            told = [{"language": clip.language, "text": clip.text} for clip in clips]
            arguments.texts.write_text(json.dumps({"told": told, **heard}, ensure_ascii=False, indent=1), "utf-8")
    return 0


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main())
