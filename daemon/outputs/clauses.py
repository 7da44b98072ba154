# ruff: noqa: RUF001  # marks and words of other scripts are what it is made of
"""How good it is to break a text between two words: at sentences, clauses and pauses, not inside of a phrase. Pure.

The rules of subtitling (Netflix Timed Text Style Guide, BBC Subtitle Guidelines): after punctuation; before
conjunctions and prepositions; not between an article and its noun, a preposition and what it governs, a first and a
last name.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from daemon.outputs.typesetting import is_unspaced

SENTENCE, CLAUSE, BEFORE_CLAUSE, ANYWHERE, INSIDE = 0.0, 1.2, 2.0, 4.0, 7.0
"""What a break costs: at a sentence's end, at a comma, before a conjunction, between any words, inside a phrase."""

_PAUSE_MS: Final = 600  # a pause from which on its break is as good as it gets
_PAUSE_WORTH: Final = 2.0

_SENTENCE_ENDS: Final = frozenset(".?!…。？！｡؟۔।॥")
_CLAUSE_ENDS: Final = frozenset(",;:–—，、；：､،؛")
_BEHIND: Final = " \"'»”’)]」』）"
_ABBREVIATIONS: Final = frozenset("mr. mrs. ms. dr. st. vs. prof. nr. bzw. z.b. d.h. etc. sr. sra. m. mme. no.".split())

# Words that a clause or a phrase begins with, and words that what follows belongs to.
_OPENERS: Final = MappingProxyType(
    {
        "en": "and but or nor so because although though while when where which who that if unless until since than "
        "as after before in on at by for with from to into about between through during without against",
        "de": "und aber oder denn sondern weil obwohl während wenn wo welche welcher welches dass daß ob bis als "
        "wie da nachdem bevor in im an am auf bei für mit von vom aus zu zum zur über unter zwischen durch "
        "ohne gegen nach",
        "fr": "et mais ou donc car parce quand où qui que dont si lorsque puisque comme après avant dans en sur par "
        "pour avec de du des à au aux entre sans contre sous chez vers",
        "es": "y e pero o u porque aunque mientras cuando donde que quien si como después antes en sobre por para "
        "con de del a al entre sin contra desde hasta hacia",
        "it": "e ed ma o perché benché mentre quando dove che chi se come dopo prima in su per con di del della a "
        "al alla da dal tra fra senza contro",
        "pt": "e mas ou porque embora enquanto quando onde que quem se como depois antes em no na por para com de "
        "do da a ao entre sem contra desde até",
        "nl": "en maar of want omdat hoewel terwijl wanneer waar die dat als toen in op aan bij voor met van uit "
        "naar over onder tussen door zonder tegen",
        "ru": "и но а или потому хотя пока когда где который которая которое что если чтобы как в во на по для с со "
        "из от до у о об к ко без через между",
    }
)
_BINDERS: Final = MappingProxyType(
    {
        "en": "a an the my your his her its our their this these those some any no every each i you he she it we "
        "they is are was were be been am has have had do does did will would can could should may might must "
        "not very of to in on at by for with from into and or but because if that which who mr mrs dr",
        "de": "ein eine einen einem einer eines der die das den dem des mein meine dein sein seine ihr ihre unser "
        "unsere dieser diese dieses ich du er sie es wir ist sind war waren hat haben hatte wird werden kann "
        "nicht sehr und oder aber weil dass von zu in im an am auf bei für mit aus zum zur vom herr frau",
        "fr": "un une le la les l' d' mon ma mes ton ta son sa ses notre votre leur ce cette ces je tu il elle on "
        "nous vous ils est sont était a ont ne pas très et ou mais de du des à au aux dans en sur par pour "
        "avec que qui",
        "es": "un una unos unas el la los las mi tu su sus nuestro este esta estos yo él ella es son era ha han no "
        "muy y o pero de del a al en por para con que se",
        "it": "un uno una il lo la i gli le mio tuo suo nostro questo questa io tu lui lei è sono era ha hanno non "
        "molto e o ma di del della a al alla da dal in su per con che si",
        "pt": "um uma o a os as meu minha seu sua nosso este esta eu ele ela é são era tem não muito e ou mas de do "
        "da em no na por para com que se",
        "nl": "een de het mijn jouw zijn haar ons onze deze dit ik jij hij zij wij is was waren heeft hebben niet "
        "heel en of maar van te in op aan bij voor met uit naar",
        "ru": "и но а или не в во на по для с со из от до у о об к ко без мой моя твой его её наш этот эта это я ты "
        "он она мы вы они",
    }
)
_OPENING: Final = {language: frozenset(words.split()) for language, words in _OPENERS.items()}
_BINDING: Final = {language: frozenset(words.split()) for language, words in _BINDERS.items()}

_AFTER_PARTICLE: Final = frozenset("的了吧呢吗嘛はがをにでもへとねよ")


def ends_sentence(word: str) -> bool:
    """Whether a sentence ends with *word*."""
    bare = word.rstrip(_BEHIND)
    return bare[-1:] in _SENTENCE_ENDS and word.casefold() not in _ABBREVIATIONS


def break_cost(left: str, right: str, pause_ms: int, language: str) -> float:
    """What it costs to break between two words that follow each other; 0 where nothing is better."""
    if ends_sentence(left):
        return SENTENCE
    if left.rstrip(_BEHIND)[-1:] in _CLAUSE_ENDS:
        cost = CLAUSE
    elif is_unspaced(left[-1]) or is_unspaced(right[0]):
        cost = _between_characters(left[-1], right[0])
    else:
        cost = _between_words(left, right, language)
    return max(SENTENCE, cost - _PAUSE_WORTH * min(1.0, max(0, pause_ms) / _PAUSE_MS))


def _between_words(left: str, right: str, language: str) -> float:
    before, after = left.strip("\"'«“‘(").casefold(), right.strip("\"'»”’),.;:?!").casefold()
    if before in _BINDING.get(language, ()):
        return INSIDE
    if after in _OPENING.get(language, ()):
        return BEFORE_CLAUSE
    if left[:1].isupper() and right[:1].isupper() and language != "de":  # "de" writes all nouns so
        return ANYWHERE + 1.5
    return ANYWHERE + 1.0 if left[-1:].isdigit() else ANYWHERE


def _between_characters(left: str, right: str) -> float:
    """Nobody tells where words end in these scripts; changes of script and particles do, now and then."""
    kinds = _kind(left), _kind(right)
    if right in _AFTER_PARTICLE and kinds[1] != "kana":
        return INSIDE
    if left in _AFTER_PARTICLE or kinds in {("kana", "han"), ("kana", "katakana")}:
        return BEFORE_CLAUSE + 1.0
    if kinds in {("katakana", "katakana"), ("han", "kana"), ("other", "other")}:
        return INSIDE
    return ANYWHERE + 1.0


def _kind(character: str) -> str:
    if "\u3040" <= character <= "\u309f":
        return "kana"
    if "\u30a0" <= character <= "\u30ff":
        return "katakana"
    if "\u3400" <= character <= "\u9fff" or character >= "\U00020000":
        return "han"
    return "latin" if not is_unspaced(character) else "other"
