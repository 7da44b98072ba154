from __future__ import annotations

from collections.abc import Collection

import pytest

from daemon.options import Format
from daemon.outputs.naming import NAME_MAX_BYTES, choose_names

ALL: tuple[Format, ...] = ("txt", "srt", "vtt", "json")
TEXT: tuple[Format, ...] = ("txt",)


def chosen(
    name: str, *others: str, formats: Collection[Format] = TEXT, foreign: Collection[str] = ()
) -> dict[Format, str]:
    """The names in a folder that holds the recording, *others*, and files that are not ours."""
    return choose_names(name, formats, [name, *others, *foreign], lambda output: output not in foreign)


def size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


def test_a_lone_recording_gives_its_stem() -> None:
    """Players look for stem.srt beside stem.mp4."""
    assert chosen("memo.wav", "notes.pdf", "other.wav", formats=ALL) == {
        "txt": "memo.txt",
        "srt": "memo.srt",
        "vtt": "memo.vtt",
        "json": "memo.json",
    }


@pytest.mark.fault(15, "a.wav beside a.mp3")
@pytest.mark.parametrize("other", ["memo.mp3", "MEMO.MP3", "Memo.wav", "memo.WAV", "mEmO.m4a"])
def test_recordings_that_share_a_stem_keep_their_extension(other: str) -> None:
    """Case does not count: on many shares A.txt and a.txt are one file."""
    assert chosen("memo.wav", other) == {"txt": "memo.wav.txt"}


@pytest.mark.parametrize("other", ["memo.pdf", "memo.txt.bak", ".memo.mp3", "memo.mp3.part", "memo", "memos.wav"])
def test_only_recordings_make_a_stem_shared(other: str) -> None:
    """Documents, hidden and temporary files of the same stem are no rivals."""
    assert chosen("memo.wav", other) == {"txt": "memo.txt"}


@pytest.mark.fault(15, "random sets of names")
def test_two_recordings_of_one_stem_never_meet() -> None:
    """Each of three takes other names, whatever the order."""
    names = ["a.wav", "a.mp3", "A.WAV"]
    outputs = {chosen(name, *(other for other in names if other != name))["txt"].casefold() for name in names[:2]}
    assert outputs == {"a.wav.txt", "a.mp3.txt"}


def test_a_new_version_stays_where_the_old_one_is() -> None:
    """Whatever came or went beside it: else there would be two sets, and one of them old."""
    folder = ["memo.wav", "memo.mp3", "memo.txt"]
    names = choose_names("memo.wav", ALL, folder, lambda _output: True, ours=lambda output: output == "memo.txt")
    assert names["srt"] == "memo.srt"
    folder = ["memo.wav", "memo.wav.txt"]
    names = choose_names("memo.wav", TEXT, folder, lambda _output: True, ours=lambda output: output == "memo.wav.txt")
    assert names == {"txt": "memo.wav.txt"}
    edited = choose_names("memo.wav", TEXT, folder, lambda output: output != "memo.wav.txt", ours=lambda _output: True)
    assert edited == {"txt": "memo.txt"}


def test_a_file_that_is_not_ours_is_avoided() -> None:
    """First the stem, then the full name, then revisions until one is free."""
    assert chosen("memo.wav", foreign=["memo.txt"]) == {"txt": "memo.wav.txt"}
    assert chosen("memo.wav", foreign=["memo.txt", "memo.wav.txt"]) == {"txt": "memo.wav.r2.txt"}
    taken = ["memo.txt", "memo.wav.txt", "memo.wav.r2.txt", "memo.wav.r3.txt"]
    assert chosen("memo.wav", foreign=taken) == {"txt": "memo.wav.r4.txt"}


def test_all_formats_of_a_recording_go_together() -> None:
    """One name that is taken moves the whole set: a person sees which files belong together."""
    names = chosen("memo.wav", formats=ALL, foreign=["memo.vtt"])
    assert set(names.values()) == {"memo.wav.txt", "memo.wav.srt", "memo.wav.vtt", "memo.wav.json"}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("memo", "memo.txt"),
        (".wav", ".wav.txt"),
        ("memo.", "memo.txt"),
        ("a.b.wav", "a.b.txt"),
        ("memo.wav.wav", "memo.wav.txt"),
        ("-rf.wav", "-rf.txt"),
        ("two words.wav", "two words.txt"),
    ],
)
def test_odd_names_have_a_stem(name: str, output: str) -> None:
    """Names without an extension or with several give an output that is not the recording itself."""
    assert chosen(name) == {"txt": output}
    assert output != name


@pytest.mark.fault(14, "names of 255 bytes in several scripts")
@pytest.mark.parametrize(
    "name", ["x" * 251 + ".wav", "語" * 83 + "aa.wav", "x" + "é" * 125 + ".wav", "🎙" * 62 + ".mp3"]
)
@pytest.mark.parametrize("shared", [False, True])
def test_the_longest_names_are_cut_between_characters(name: str, shared: bool) -> None:
    """An output of a 255-byte name fits too, is valid UTF-8, and keeps its extension."""
    assert size(name) <= NAME_MAX_BYTES
    other = name[:-4] + ".ogg"
    names = chosen(name, *([other] if shared else []), formats=ALL)
    for format, output in names.items():
        assert size(output) <= NAME_MAX_BYTES
        assert output.endswith(f".{format}")
        output.encode("utf-8")
    assert len({output.rpartition(".")[0] for output in names.values()}) == 1


def test_names_that_are_cut_differ_where_the_whole_differs() -> None:
    """The hash in a cut name is of the whole: two long names of one beginning do not collide."""
    one, other = ("y" * 249 + end + ".wav" for end in ("01", "02"))
    cut = [chosen(name, name[:-4] + ".mp3")["txt"] for name in (one, other)]
    assert cut[0] != cut[1]
    assert cut[0] == chosen(one, one[:-4] + ".mp3")["txt"]
    assert "~" in cut[0]


def test_a_cut_name_that_is_taken_gives_another() -> None:
    """Revisions of a name that is cut are apart too: the search for a free one ends."""
    name = "z" * 251 + ".wav"
    first = chosen(name)["txt"]
    second = chosen(name, foreign=[first])["txt"]
    third = chosen(name, foreign=[first, second])["txt"]
    assert len({first, second, third}) == 3


def test_bytes_that_are_no_utf8_stay_in_the_name() -> None:
    """The transcript of a name in an old encoding has the very same bytes before its extension."""
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    assert chosen(name)["txt"].encode("utf-8", "surrogateescape") == b"caf\xe9.txt"


def test_a_cut_name_leaves_out_bytes_that_are_no_utf8() -> None:
    """A name that has to be cut anyway becomes valid UTF-8."""
    name = (b"\xe9" * 251 + b".wav").decode("utf-8", "surrogateescape")
    output = chosen(name, formats=ALL)["txt"]
    assert output.encode("utf-8").startswith(b"~")
    assert size(output) <= NAME_MAX_BYTES


def suffixed(name: str, *others: str, suffix: str = ".en", foreign: Collection[str] = (), ours: str = "") -> str:
    """The name of the subtitles; *ours* is a file of an earlier version."""
    folder = [name, *others, *foreign]
    subtitles: tuple[Format, ...] = ("srt",)
    names = choose_names(
        name, subtitles, folder, lambda output: output not in foreign, 255, lambda output: output == ours, suffix
    )
    return names["srt"]


def test_the_language_comes_before_the_extension() -> None:
    """As players look for it; collisions are solved before it."""
    assert suffixed("talk.mp4") == "talk.en.srt"
    assert suffixed("talk.mp4", "talk.mp3") == "talk.mp4.en.srt"
    assert suffixed("talk.mp4", foreign=["talk.en.srt"]) == "talk.mp4.en.srt"
    assert suffixed("talk.mp4", foreign=["talk.en.srt", "talk.mp4.en.srt"]) == "talk.mp4.r2.en.srt"
    assert suffixed("talk.mp4", foreign=["talk.srt"]) == "talk.en.srt"


def test_a_recording_whose_name_ends_with_the_language_keeps_its_own_subtitles() -> None:
    """talk.en.srt would belong to both."""
    assert suffixed("talk.mp4", "talk.en.mp4") == "talk.mp4.en.srt"
    assert suffixed("talk.en.mp4", "talk.mp4") == "talk.en.en.srt"
    assert suffixed("talk.mp4", "talk.de.mp4") == "talk.en.srt"


def test_what_was_written_without_a_language_keeps_its_name() -> None:
    """There is to be one set. A name that says another language would lie, so that one is not kept."""
    assert suffixed("talk.mp4", "talk.srt", ours="talk.srt") == "talk.srt"
    assert suffixed("talk.mp4", "talk.en.srt", ours="talk.en.srt") == "talk.en.srt"
    assert suffixed("talk.mp4", "talk.mp3", "talk.en.srt", ours="talk.en.srt") == "talk.en.srt"
    assert suffixed("talk.mp4", "talk.de.srt", ours="talk.de.srt") == "talk.en.srt"


@pytest.mark.parametrize("n_letters", range(235, 256))
def test_a_long_name_has_room_for_the_language(n_letters: int) -> None:
    """What has to be cut is cut before it."""
    name = suffixed("x" * (n_letters - 4) + ".mp4")
    assert name.endswith(".en.srt")
    assert size(name) <= NAME_MAX_BYTES


def translated(name: str, *others: str, suffix: str = "", foreign: Collection[str] = (), ours: str = "") -> set[str]:
    """The names of a text and of its translation beside it."""
    folder = [name, *others, *foreign]
    kinds = ("txt", "txt.en")
    names = choose_names(
        name, kinds, folder, lambda output: output not in foreign, 255, lambda output: output == ours, suffix
    )
    assert len(set(names.values())) == 2
    return set(names.values())


def test_a_translation_says_its_language() -> None:
    """The text keeps its name, or has its own language."""
    assert translated("talk.mp4") == {"talk.txt", "talk.en.txt"}
    assert translated("talk.mp4", suffix=".de") == {"talk.de.txt", "talk.en.txt"}
    assert translated("talk.mp4", "talk.mp3") == {"talk.mp4.txt", "talk.mp4.en.txt"}


def test_a_translation_takes_no_name_of_another_recording() -> None:
    """talk.en.txt would be the text of talk.en.mp4; whichever comes second goes elsewhere."""
    assert translated("talk.mp4", "talk.en.mp4") == {"talk.mp4.txt", "talk.mp4.en.txt"}
    assert translated("talk.mp4", foreign=["talk.en.txt"]) == {"talk.mp4.txt", "talk.mp4.en.txt"}
    assert translated("talk.en.mp4", foreign=["talk.en.txt"]) == {"talk.en.mp4.txt", "talk.en.mp4.en.txt"}


def test_a_translation_joins_the_text_that_is_there() -> None:
    """Of a recording that was transcribed before without one; also after another recording came beside it."""
    assert translated("talk.mp4", "talk.mp3", ours="talk.txt") == {"talk.txt", "talk.en.txt"}


def test_both_names_are_cut_alike() -> None:
    """A person sees which belong together."""
    names = translated("x" * 251 + ".mp4")
    assert all(size(name) <= NAME_MAX_BYTES for name in names)
    assert len({name.partition(".")[0] for name in names}) == 1
