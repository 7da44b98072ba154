from dataclasses import replace

from daemon.options import JobOptions

PLAIN = JobOptions()


def test_the_digest_of_the_defaults_is_that_of_the_first_release() -> None:
    """So what was transcribed before an option came is known again; an option of looks is no part of it."""
    assert PLAIN.digest() == "1972d038c96b73ee"
    assert replace(PLAIN, formats=("md",), subtitle_lines=1).digest() == PLAIN.digest()


def test_what_changes_the_words_changes_the_digest() -> None:
    """Also an option that came later, once it is set."""
    assert replace(PLAIN, task="both").digest() != PLAIN.digest()
    assert replace(PLAIN, speakers="auto" if PLAIN.speakers == "off" else "off").digest() != PLAIN.digest()
