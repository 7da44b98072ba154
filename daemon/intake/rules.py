"""Which names are recordings. Pure: looks at names, never at a disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EXTENSIONS: Final = frozenset(
    """
    wav wave bwf rf64 w64 flac mp3 mp2 mpga ogg oga opus m4a m4b m4r aac aif aiff aifc au snd caf sph nist
    wma amr awb 3ga ac3 eac3 mka wv tta ape dss gsm voc
    mp4 m4v mov qt mkv webm weba avi wmv asf mpg mpeg mts m2ts vob ogv ogx 3gp 3g2 flv f4v
    """.split()
)
"""Lower case, without the dot: audio, then containers with a sound track."""

TEMPORARY_SUFFIXES: Final = {
    "part": "Firefox, wget and our own temporary files",
    "partial": "a partial download",
    "crdownload": "Chrome and Edge downloads",
    "download": "Safari downloads",
    "opdownload": "Opera downloads",
    "filepart": "WinSCP uploads",
    "tmp": "temporary files",
    "temp": "temporary files",
    "aria2": "aria2 downloads",
    "!ut": "torrent downloads",
    "bc!": "torrent downloads",
    "!qb": "torrent downloads",
    "swp": "editor files",
    "bak": "backups",
}

_IGNORED_NAMES: Final = {
    re.compile(r"~syncthing~.*", re.IGNORECASE): "Syncthing's temporary files",
    re.compile(r"~\$.*"): "lock files of office programs",
    re.compile(r".*~"): "editor backups",
    re.compile(r"(thumbs\.db|desktop\.ini|icon\r)", re.IGNORECASE): "files of a desktop",
    re.compile(r"\.?smbdelete.*", re.IGNORECASE): "files that Samba is about to delete",
}

_ANY_IGNORED: Final = re.compile(
    "|".join(f"(?{'i' if names.flags & re.IGNORECASE else ''}:{names.pattern})" for names in _IGNORED_NAMES)
)

_IGNORED_FOLDERS: Final = {
    "@eadir": "Synology's index",
    "@sharebin": "Synology's recycle bin",
    "#recycle": "a NAS recycle bin",
    "@recycle": "a NAS recycle bin",
    "@recently-snapshot": "QNAP snapshots",
    "$recycle.bin": "the Windows recycle bin",
    "system volume information": "a Windows system folder",
    "__macosx": "macOS archive residue",
    "lost+found": "the filesystem's own folder",
    "network trash folder": "a macOS share folder",
    "temporary items": "a macOS share folder",
}

_SAFE_SAVE: Final = re.compile(r".+\.sb-[0-9a-f]{8}-[A-Za-z0-9]{6}")

OWN_TEMPORARY: Final = re.compile(r"\.tr-([0-9a-f]{16}\.part|probe-[0-9a-f]{16})")
"""Our own temporary names: outputs (daemon/outputs/publish.py) and the probe of daemon/intake/watcher.py."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a name is that of a recording, and the rule that said so, in words."""

    recording: bool
    rule: str


def judge_file(name: str) -> Verdict:
    """The verdict on a file by its name alone, without its folder."""
    if name.startswith("."):
        return Verdict(False, "hidden: the name starts with a dot")
    for pattern, what in _IGNORED_NAMES.items():
        if pattern.fullmatch(name):
            return Verdict(False, f"ignored: {what}")
    extension = extension_of(name)
    if extension in TEMPORARY_SUFFIXES:
        return Verdict(
            False, f"temporary: .{extension} is for {TEMPORARY_SUFFIXES[extension]}; rename it when it is done"
        )
    if extension in EXTENSIONS:
        return Verdict(True, f"recording: .{extension}")
    return Verdict(
        False, f"not a recording: {f'.{extension}' if extension else 'no extension'} is no audio or video type"
    )


def is_recording(name: str) -> bool:
    """Whether `judge_file` takes it for one: the answer alone, for the many names that a scan meets."""
    extension = extension_of(name)
    if extension not in EXTENSIONS or extension in TEMPORARY_SUFFIXES:
        return False
    return not name.startswith(".") and _ANY_IGNORED.fullmatch(name) is None


def judge_folder(name: str) -> Verdict:
    """Whether a folder of this name is searched for recordings."""
    if name.startswith("."):
        return Verdict(False, "hidden: the folder's name starts with a dot")
    if what := _IGNORED_FOLDERS.get(name.casefold()):
        return Verdict(False, f"ignored folder: {what}")
    if _SAFE_SAVE.fullmatch(name):
        return Verdict(False, "ignored folder: macOS is saving a file in it")
    return Verdict(True, "searched")


def judge_path(parts: tuple[str, ...], *, recursive: bool) -> Verdict:
    """The verdict on a path inside an inbox, given as its parts below the inbox."""
    *folders, name = parts
    if folders and not recursive:
        return Verdict(False, "in a subfolder: this inbox is not recursive")
    for folder in folders:
        verdict = judge_folder(folder)
        if not verdict.recording:
            return verdict
    return judge_file(name)


def extension_of(name: str) -> str:
    """The extension in lower case without its dot; empty for none."""
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem else ""
