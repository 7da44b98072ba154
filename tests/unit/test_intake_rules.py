"""Which names are recordings: the tables of temporary names, folders and extensions."""

from __future__ import annotations

import pytest

from daemon.intake.rules import OWN_TEMPORARY, extension_of, is_recording, judge_file, judge_folder, judge_path
from daemon.intake.watcher import PROBE_PREFIX


@pytest.mark.parametrize(
    "name",
    [
        "memo.wav",
        "MEMO.WAV",
        "Interview 3 (final).Mp3",
        "talk.tar.flac",
        "film.mkv",
        "a.webm",
        "语音.m4a",
        "caf\udce9.ogg",
        "line\nbreak.wav",
        "smb_call.wav",
        "template.wav",
        "part.wav",
    ],
)
def test_audio_and_video_are_recordings(name: str) -> None:
    """The extension decides, in any case, whatever the rest of the name is made of."""
    assert judge_file(name).recording
    assert is_recording(name)


@pytest.mark.fault(4, "each temporary name")
@pytest.mark.parametrize(
    ("name", "word"),
    [
        (".memo.wav", "hidden"),
        ("._memo.wav", "hidden"),
        (".memo.wav.Ab12Cd", "hidden"),
        (".nfs000000000123", "hidden"),
        (".syncthing.memo.wav.tmp", "hidden"),
        ("memo.wav.part", "Firefox"),
        ("memo.wav.PART", "Firefox"),
        ("memo.wav.crdownload", "Chrome"),
        ("memo.wav.download", "Safari"),
        ("memo.wav.partial", "partial"),
        ("memo.wav.filepart", "WinSCP"),
        ("memo.tmp", "temporary"),
        ("memo.wav.aria2", "aria2"),
        ("memo.wav.!qB", "torrent"),
        ("~syncthing~memo.wav.tmp", "Syncthing"),
        ("~syncthing~memo.wav", "Syncthing"),
        ("~$memo.wav", "office"),
        ("memo.wav~", "backup"),
        ("smbdeleteAAA1.wav", "Samba"),
        ("Thumbs.db", "desktop"),
        ("memo.txt", ".txt"),
        ("memo.srt", ".srt"),
        ("memo.wav.json", ".json"),
        ("wav", "no extension"),
        ("memo.", "no extension"),
    ],
)
def test_everything_else_is_ignored_by_a_rule_that_has_a_name(name: str, word: str) -> None:
    """Temporary names, hidden files, our own outputs: each verdict says in words which rule it was."""
    verdict = judge_file(name)
    assert not verdict.recording
    assert not is_recording(name)
    assert word in verdict.rule


@pytest.mark.fault(4, "folders of NAS and Syncthing")
@pytest.mark.parametrize(
    "name",
    [
        ".stfolder",
        ".~tmp~",
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "__MACOSX",
        "lost+found",
    ],
)
def test_folders_of_machines_are_not_searched(name: str) -> None:
    """Indexes, recycle bins and hidden folders hold no recordings that anybody dropped."""
    assert not judge_folder(name).recording


def test_a_folder_in_which_macos_saves_is_not_searched() -> None:
    """A safe save writes into a folder beside the file and renames at the end."""
    assert not judge_folder("memo.wav.sb-1a2b3c4d-Xy9AbC").recording


@pytest.mark.parametrize("name", ["2025", "Team A", "memo.wav", "语音", "recycle"])
def test_other_folders_are_searched(name: str) -> None:
    """Also one that is named like a recording."""
    assert judge_folder(name).recording


def test_a_path_is_judged_by_every_part_of_it() -> None:
    """The first folder that is not searched decides; after that, the name."""
    assert judge_path(("a", "b", "memo.wav"), recursive=True).recording
    assert "Synology" in judge_path(("a", "@eaDir", "memo.wav"), recursive=True).rule
    assert ".txt" in judge_path(("a", "memo.txt"), recursive=True).rule


def test_subfolders_count_only_where_the_inbox_is_recursive() -> None:
    """The rule says so, and files directly in the inbox are not touched by it."""
    assert "not recursive" in judge_path(("a", "memo.wav"), recursive=False).rule
    assert judge_path(("memo.wav",), recursive=False).recording


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.WAV", "wav"), ("a.b.mp3", "mp3"), ("a", ""), ("a.", ""), (".wav", ""), ("a .wav", "wav")],
)
def test_extension(name: str, extension: str) -> None:
    """Lower case, without the dot; a leading dot makes a hidden file, not an extension."""
    assert extension_of(name) == extension


def test_our_own_temporary_names_are_told_from_others() -> None:
    """The sweep takes exactly what we write: outputs in the making and the probe of the watcher."""
    assert OWN_TEMPORARY.fullmatch(".tr-0123456789abcdef.part")
    assert OWN_TEMPORARY.fullmatch(f"{PROBE_PREFIX}0123456789abcdef")
    for name in (".tr-0123.part", ".tr-0123456789abcdef.part.wav", "x.tr-0123456789abcdef.part", ".tr-notes.part"):
        assert OWN_TEMPORARY.fullmatch(name) is None
