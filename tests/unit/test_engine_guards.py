# ruff: noqa: RUF001, E501  # many scripts, whose letters are counted as wide
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.guards import (
    Check,
    Evidence,
    average_logprob,
    compression_ratio,
    credibility,
    failed_checks,
    is_silence,
    needs_retry,
)

GREEDY = -0.5  # a limit above the last resort's


def heard(text: str, language: str = "en", **more: object) -> Evidence:
    """*text* with one token a word and ordinary figures, said at an ordinary speed."""
    words = text.split() if language not in {"zh", "ja", "th"} else list(text)
    numbers = {word: n for n, word in enumerate(dict.fromkeys(words))}
    speech_s = max(1.0, len(words) / (2.5 if language not in {"zh", "ja", "th"} else 6))
    evidence = Evidence(
        text=text,
        tokens=tuple(numbers[word] for word in words),
        language=language,
        task="transcribe",
        avg_logprob=-0.2,
        no_speech_prob=0.03,
        speech_s=speech_s,
        duration_s=speech_s,
        cut_off=False,
    )
    return replace(evidence, **more)  # type: ignore[arg-type]


SPOKEN = [
    ("en", "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."),
    ("en", "No, no, no, no. I said no."),
    ("en", "Ha ha ha ha ha, very funny."),
    ("en", "Let it be, let it be, let it be, let it be. Whisper words of wisdom, let it be."),
    ("en", "Thank you."),
    ("en", "That is all for today. Thank you for watching."),
    ("en", "Yes."),
    ("en", "Milk, bread, butter, eggs, two pounds of apples, and a bottle of wine."),
    ("en", "We bought it at IKEA in Москва for 20 €."),
    ("en", ("Please enter your agent number followed by the pound key. Login incorrect. "
            "Please enter your agent number followed by the pound key.")),
    ("de", "Guten Morgen. Der Zug nach Berlin fährt heute eine Stunde später ab."),
    ("de", "Vielen Dank. Die Untertitel müssen bis Freitag fertig sein."),
    ("fr", "Il a ajouté qu'on ne devrait cependant pas leur demander d'assumer des obligations."),
    ("es", "Hoy hace mucho sol y los niños juegan en el jardín."),
    ("pt", "O romantismo tinha um grande elemento de determinismo cultural."),
    ("ru", ("Сегодня утром мы поехали на поезде в город, чтобы встретиться с друзьями и купить новые книги для школы. "
            "Погода была хорошая, и мы долго гуляли вдоль реки, а вечером вернулись домой.")),
    ("uk", "Сьогодні гарна погода, і ми підемо гуляти в парк."),
    ("sr", "Danas je lep dan, idemo u šetnju."),
    ("sr", "Данас је леп дан, идемо у шетњу."),
    ("el", "Σήμερα έχει ωραίο καιρό και θα πάμε μια βόλτα."),
    ("he", "היום מזג האוויר יפה ואנחנו הולכים לטייל."),
    ("ar", "الطقس جميل اليوم وسنذهب في نزهة على الأقدام."),
    ("hi", ("आज मौसम बहुत अच्छा है और हम सब बाग में घूमने जा रहे हैं क्योंकि बच्चे वहाँ खेलना चाहते हैं और हमें भी ताज़ी हवा चाहिए। "
            "शाम को हम घर लौटकर खाना बनाएँगे।")),
    ("th", "วันนี้อากาศดีมากเราจะไปเดินเล่นที่สวนสาธารณะ"),
    ("zh", "今天天气很好，我们去公园散步吧。"),
    ("ja", "客観的実在の判断的知識が成立するのである。"),
    ("ja", "iPhone の新しいモデルが発売されました。"),
    ("ko", "그는 이리저리 피하면서 길 한 옆으로 걸어갔다."),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text"), SPOKEN)
def test_what_people_say_is_believed(language: str, text: str) -> None:
    """Refrains, laughter, lists, names, farewells: none of them is a fault by the standard of the last resort."""
    evidence = heard(text, language)
    assert failed_checks(evidence) == ()
    assert not is_silence(evidence)


@pytest.mark.fault(37, "texts that loop")
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("et " * 30, "fr"),
        ("Please call Stella. " * 6, "en"),
        ("Please enter your password followed by the pound key. " * 3, "en"),
        ("In the beginning he said that it was to be to be to be to be to be to be to be to be to be", "en"),
        ("小" * 40, "zh"),
        ("この動画は" * 8, "ja"),
    ],
)
def test_a_loop_is_repetition(text: str, language: str) -> None:
    """Whether a syllable, a word or a sentence goes round, at any speed and any probability."""
    assert Check.REPETITION in failed_checks(heard(text, language, avg_logprob=-0.04))


def test_a_loop_of_tokens_shows_where_the_text_does_not() -> None:
    """Pieces of letters that never become a text are still said again and again."""
    assert Check.REPETITION in failed_checks(heard("Yes.", tokens=(7,) * 8))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "in being comparatively modern, in being comparatively modern,"),
        ("en", "his father dying in miserable circumstances. His father dying in miserable circumstances."),
        ("en", "It may be given in cases of narcotic poisoning. It might be given in cases of narcotic poisoning."),
        ("zh", "砸自己的脚了吗砸自己的脚了吗"),
    ],
)
def test_a_text_said_twice_is_doubted_while_there_is_a_better_way_to_ask(language: str, text: str) -> None:
    """Short windows double their text; people do so too, and the last resort believes them."""
    assert failed_checks(heard(text, language), min_avg_logprob=GREEDY) == (Check.REPETITION,)
    assert failed_checks(heard(text, language)) == ()


def test_the_limit_of_confidence_is_the_caller_s() -> None:
    """A cheap pass is judged more strictly than the last resort."""
    evidence = heard("We also know the small past.", avg_logprob=-0.7)
    assert failed_checks(evidence) == ()
    assert failed_checks(evidence, min_avg_logprob=GREEDY) == (Check.LOW_CONFIDENCE,)
    assert failed_checks(replace(evidence, avg_logprob=-1.1)) == (Check.LOW_CONFIDENCE,)


@pytest.mark.parametrize(("language", "text"), [("en", "Meanwhile."), ("en", ""), ("zh", "你好"), ("ko", "네")])
def test_a_word_for_half_a_minute_is_collapse(language: str, text: str) -> None:
    """Neither repetition nor confidence see that the rest is missing."""
    assert failed_checks(heard(text, language, speech_s=28.0, avg_logprob=-0.1)) == (Check.COLLAPSE,)


def test_a_short_answer_is_no_collapse() -> None:
    """One word in two seconds is slow, not wrong; and a telephone number is many words."""
    assert failed_checks(heard("Yes.", speech_s=2.5)) == ()
    assert failed_checks(heard("+49 176 12345678", speech_s=9.0)) == ()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "one two three four five six seven eight nine ten eleven twelve"),
        ("ja", "今日は天気がいいので公園へ行きましょうと母が言いました"),
    ],
)
def test_more_than_anybody_can_say_is_surplus(language: str, text: str) -> None:
    """The same text in enough time is none."""
    assert failed_checks(heard(text, language, speech_s=0.8)) == (Check.SURPLUS,)
    assert failed_checks(heard(text, language, speech_s=4.0)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "Untertitel der Amara.org-Community",
        "Untertitelung des ZDF, 2020",
        "Copyright WDR 2021",
        "Sous-titres réalisés par la communauté d'Amara.org",
        "Sous-titrage ST' 501",
        "Subtítulos realizados por la comunidad de Amara.org",
        "Legendas pela comunidade Amara.org",
        "Sottotitoli creati dalla comunità Amara.org",
        "Napisy stworzone przez społeczność Amara.org",
        "Субтитры сделал DimaTorzok",
        "Редактор субтитров А. Синецкая Корректор А.Егорова",
        "СПОКОЙНАЯ МУЗЫКА",
        "字幕by索兰娅",
        "[Music]",
        "(Applaus)",
        "♪ ♪",
        "*Musik*",
    ],
)
def test_credits_of_subtitles_are_phantoms(text: str) -> None:
    """They stand alone or at the end of true speech; alone, where the model doubts too, they are thrown away."""
    alone = heard(text, "en")
    assert Check.PHANTOM in failed_checks(alone)
    assert Check.PHANTOM in failed_checks(heard(f"We will see you tomorrow at eight. {text}"))
    assert not is_silence(heard(f"We will see you tomorrow at eight. {text}"))
    assert is_silence(replace(alone, no_speech_prob=0.5))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Thank you for watching!"),
        ("en", "you"),
        ("en", "Thank you. Thank you."),
        ("de", "Vielen Dank fürs Zuschauen."),
        ("ru", "Продолжение следует..."),
        ("ja", "ご視聴ありがとうございました。"),
        ("ko", "시청해주셔서 감사합니다."),
        ("ko", "MBC 뉴스 이덕영입니다."),
        ("fr", "Merci d'avoir regardé cette vidéo !"),
    ],
)
def test_farewells_are_doubted_only_where_hardly_anything_was_heard(language: str, text: str) -> None:
    """People do say them."""
    spoken = heard(text, language)
    assert failed_checks(spoken) == ()
    assert not is_silence(spoken)
    assert failed_checks(replace(spoken, no_speech_prob=0.5)) == (Check.PHANTOM,)
    assert failed_checks(replace(spoken, level_dbfs=-55.0)) == (Check.PHANTOM,)
    assert not is_silence(replace(spoken, no_speech_prob=0.5))
    assert is_silence(replace(spoken, level_dbfs=-55.0))
    assert is_silence(replace(spoken, no_speech_prob=0.7, avg_logprob=-0.8))


def test_talk_about_credits_is_none() -> None:
    """A long sentence that names a maker of subtitles was said by somebody."""
    text = "If you want to help us translate these lectures please go to amara.org and look for our team there."
    assert failed_checks(heard(text)) == ()


def test_the_token_limit_cuts_off() -> None:
    """Whatever the text looks like."""
    assert failed_checks(heard("And then we went to", cut_off=True)) == (Check.CUT_OFF,)


@pytest.mark.parametrize(
    ("language", "task", "text"),
    [
        ("en", "transcribe", "Мы поехали в город."),
        ("ru", "transcribe", "We went to the city today."),
        ("ja", "transcribe", "Thank you very much for watching this."),
        ("ja", "transcribe", "今天天气很好我们去公园散步吧然后一起回家吃晚饭看电视"),
        ("zh", "transcribe", "ありがとうございました"),
        ("ko", "transcribe", "ありがとうございました"),
        ("hi", "transcribe", "الطقس جميل اليوم"),
        ("ru", "translate", "Мы поехали в город."),
    ],
)
def test_letters_of_another_language_are_the_wrong_script(language: str, task: str, text: str) -> None:
    """The text is in another language than was asked for; a translation is in English."""
    assert failed_checks(heard(text, language, task=task, speech_s=2.5)) == (Check.WRONG_SCRIPT,)


@pytest.mark.parametrize(("language", "text"), [("ja", "OK Google"), ("zh", "USB"), ("ru", "Windows 11"), ("en", "π")])
def test_names_keep_their_letters(language: str, text: str) -> None:
    """Products and units are written alike everywhere."""
    assert failed_checks(heard(text, language)) == ()


def test_a_translation_is_counted_in_words() -> None:
    """The text is English, whatever was spoken."""
    text = "The weather is fine today, so my mother said that we should all go to the park."
    assert failed_checks(heard(text, "ja", task="translate", speech_s=6.0)) == ()


@pytest.mark.fault(37, "the prompt as an answer")
@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Kubernetes, Istio, Prometheus, Grafana.", "Kubernetes, Istio, Prometheus, Grafana"),
        ("kubernetes istio prometheus grafana argo", "Kubernetes, Istio, Prometheus, Grafana"),
        ("Istio, Prometheus, Grafana, Argo", "Kubernetes, Istio, Prometheus, Grafana, Argo, Flux"),
        ("Kubernetes, Istio, Prometheus", "Kubernetes, Istio, Prometheus"),
    ],
)
def test_the_prompt_is_no_answer(text: str, prompt: str) -> None:
    """Hotwords given back as they were listed were not heard; nor were most of them."""
    assert failed_checks(heard(text, prompt=prompt)) == (Check.PROMPT_LEAK,)


def test_hotwords_may_be_spoken() -> None:
    """A name, or a sentence with some of them, is what they were given for."""
    prompt = "Kubernetes, Istio, Prometheus, Grafana, Anna Schmidt"
    assert failed_checks(heard("Anna Schmidt.", prompt=prompt)) == ()
    assert failed_checks(heard("Anna Schmidt.", prompt="Anna Schmidt")) == ()
    assert (
        failed_checks(
            heard("We run Istio on Kubernetes and watch it with Prometheus, Grafana and a pager.", prompt=prompt)
        )
        == ()
    )


def test_checks_come_in_one_order() -> None:
    """That of their definition, however many fail."""
    evidence = heard("Please call Stella. " * 20, "ru", speech_s=2.0, avg_logprob=-1.5, cut_off=True)
    assert failed_checks(evidence) == (
        Check.REPETITION,
        Check.LOW_CONFIDENCE,
        Check.SURPLUS,
        Check.CUT_OFF,
        Check.WRONG_SCRIPT,
    )


def test_silence_needs_two_witnesses() -> None:
    """A sure text is kept whatever the no-speech probability says; the lower it is, the less must be believed."""
    text = heard("I do not know.")
    assert is_silence(replace(text, no_speech_prob=0.9, avg_logprob=-1.1))
    assert is_silence(replace(text, no_speech_prob=0.5, avg_logprob=-1.5))
    assert not is_silence(replace(text, no_speech_prob=0.9, avg_logprob=-0.3))
    assert not is_silence(replace(text, no_speech_prob=0.5, avg_logprob=-1.1))
    assert not is_silence(replace(text, no_speech_prob=0.3, avg_logprob=-2.0))


def test_digital_silence_holds_no_words() -> None:
    """However sure the model is."""
    assert is_silence(heard("I do not know.", level_dbfs=-75.0))
    assert not is_silence(heard("I do not know.", level_dbfs=-45.0))


@pytest.mark.parametrize("text", ["", "...", " … "])
def test_no_words_are_silence_only_if_the_model_agrees(text: str) -> None:
    """Else they are a collapse, where there was speech."""
    assert is_silence(heard(text, no_speech_prob=0.5))
    missed = heard(text, no_speech_prob=0.1, speech_s=6.0)
    assert not is_silence(missed)
    assert needs_retry(missed, failed_checks(missed))


def test_a_loop_is_asked_again_before_it_is_silence() -> None:
    """A short window may loop over speech; what loops to the end, with a high no-speech probability, was none."""
    loop = heard("O que é " * 30, "pt", no_speech_prob=0.65, avg_logprob=-1.2)
    failed = failed_checks(loop)
    assert needs_retry(loop, failed)
    assert is_silence(loop)
    assert not is_silence(replace(loop, no_speech_prob=0.1))


def test_silence_is_not_asked_again() -> None:
    """Both witnesses agree: no further pass finds words there."""
    noise = heard("you", no_speech_prob=0.8, avg_logprob=-1.7, speech_s=8.0)
    assert Check.COLLAPSE in failed_checks(noise)
    assert not needs_retry(noise, failed_checks(noise))
    assert not needs_retry(heard("Good morning."), ())


def test_the_best_of_several_texts() -> None:
    """No doubt before a doubt, doubtful before half, half before invented; then the more probable."""
    attempts = {
        "believed": (heard("a", avg_logprob=-0.9), ()),
        "probable": (heard("a", avg_logprob=-1.1), (Check.LOW_CONFIDENCE,)),
        "doubtful": (heard("a", avg_logprob=-1.5), (Check.LOW_CONFIDENCE,)),
        "half": (heard("a", avg_logprob=-0.3), (Check.COLLAPSE,)),
        "loop": (heard("a", avg_logprob=-0.04), (Check.REPETITION, Check.CUT_OFF)),
    }
    assert sorted(attempts, key=lambda name: credibility(*attempts[name]), reverse=True) == list(attempts)


def test_the_average_counts_the_end_token() -> None:
    """CTranslate2 divides by the text tokens alone, the original algorithm by one more."""
    assert average_logprob(-0.5, 9) == pytest.approx(-0.45)
    assert average_logprob(0.0, 0) == 0.0


def test_compression_does_not_depend_on_the_script() -> None:
    """Letters of three bytes are not repetition; a loop is, and nothing is not."""
    assert compression_ratio("  ") == 0.0
    assert compression_ratio("I am sorry. " * 30) > 2.4
    assert compression_ratio("माफ़ कीजिए। " * 30) > 2.4
    assert compression_ratio("abcdefghij" * 2) == compression_ratio("абвгдеёжзи" * 2)


LANGUAGES = st.sampled_from(["en", "de", "ru", "zh", "ja", "th", "ko", "hi", "ar", "sr", "xx", ""])


@given(
    text=st.text(max_size=120) | st.text(alphabet=" .!*[()♪aбの", max_size=60),
    tokens=st.lists(st.integers(0, 5), max_size=60),
    language=LANGUAGES,
    translate=st.booleans(),
    speech_s=st.floats(0, 30),
    figures=st.tuples(st.floats(-5, 0), st.floats(0, 1)),
    cut_off=st.booleans(),
    prompt=st.text(max_size=60),
    level_dbfs=st.none() | st.floats(-120, 0),
)
def test_any_text_can_be_judged(
    text: str, tokens: list[int], language: str, translate: bool, speech_s: float, figures: tuple[float, float],
    cut_off: bool, prompt: str, level_dbfs: float | None,
) -> None:  # fmt: skip
    """No text makes a check fail itself; the answer is always the same, in one order, and stricter limits find more."""
    avg_logprob, no_speech_prob = figures
    evidence = Evidence(
        text=text,
        tokens=tuple(tokens),
        language=language,
        task="translate" if translate else "transcribe",
        avg_logprob=avg_logprob,
        no_speech_prob=no_speech_prob,
        speech_s=speech_s,
        duration_s=speech_s,
        cut_off=cut_off,
        prompt=prompt,
        level_dbfs=level_dbfs,
    )
    failed = failed_checks(evidence)
    assert failed == failed_checks(evidence)
    assert list(failed) == [check for check in Check if check in failed]
    assert set(failed) <= set(failed_checks(evidence, min_avg_logprob=GREEDY))
    assert is_silence(evidence) == is_silence(evidence)
    assert needs_retry(evidence, failed) <= bool(failed)
    assert credibility(evidence, failed) <= credibility(evidence, ())


@pytest.mark.parametrize("text", ["4.5% 0.5% 0.2% 0.5% 0 .3% 1.8%", "1, 2, 3, 4, 5."])
def test_numbers_alone_are_thrown_away_where_the_model_heard_nobody(text: str) -> None:
    """Dictated ones stay: over speech the model is surer that somebody speaks."""
    numbers = replace(heard(text), avg_logprob=-0.9)
    assert is_silence(replace(numbers, no_speech_prob=0.5))
    assert not is_silence(replace(numbers, no_speech_prob=0.38))
    assert not is_silence(replace(heard("Room 12, at 5."), no_speech_prob=0.5, avg_logprob=-0.9))
