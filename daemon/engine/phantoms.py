# ruff: noqa: RUF001  # a table in many scripts
"""What Whisper says where nobody spoke: the ends of the videos and the credits of the subtitles that it was trained on.

Pure. Says only whether a text is made of such phrases; whether they were spoken after all is for the caller to judge.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from daemon.engine.scripts import normalised


class Phantom(Enum):
    """How sure it is that nobody spoke a phrase."""

    SIGNATURE = auto()
    """The name of somebody who writes subtitles: nobody speaks it."""
    CREDIT = auto()
    """What subtitles say of themselves or of a sound; hardly anybody reads it aloud."""
    FAREWELL = auto()
    """What people say at the end of a video, or anywhere; the model says it over silence too."""


def phantoms_in(text: str) -> tuple[Phantom | None, ...]:
    """What each sentence of *text* is, None for an ordinary one."""
    return tuple(_phantom(part) for part in _SENTENCE_END.split(text.strip()) if part.strip())


def _phantom(sentence: str) -> Phantom | None:
    words = normalised(sentence)
    key = words.replace(" ", "")
    if words.count(" ") < _MAX_WORDS:
        if any(name in key for name in _SIGNATURES):
            return Phantom.SIGNATURE
        if key.startswith(_OPENINGS) or _BROADCASTER.fullmatch(words) or _is_sound(sentence):
            return Phantom.CREDIT
    return Phantom.FAREWELL if key in _FAREWELLS else None


def _is_sound(sentence: str) -> bool:
    """Whether *sentence* names a sound, as subtitles do: in brackets, with notes, or in capitals."""
    if sentence.isupper():
        words = normalised(sentence).split()
        return len(words) <= _MAX_SOUND_WORDS and not _SOUNDS.isdisjoint(words)
    without, n_marks = _SOUND_MARK.subn(" ", sentence)
    return n_marks > 0 and not normalised(without)


def _key(phrase: str) -> str:
    """Letters and digits alone: blanks differ even between two phrases of the same kind."""
    return normalised(phrase).replace(" ", "")


def _table(text: str) -> tuple[str, ...]:
    return tuple(_key(phrase) for line in text.splitlines() for phrase in line.split("|") if phrase.strip())


_MAX_WORDS: Final = 12  # a longer sentence talks about credits
_MAX_SOUND_WORDS: Final = 4

_SENTENCE_END: Final = re.compile(r"(?<!\b\w\.)(?<=[.!?…])\s+|(?<=[。！？])\s*|\n+")
# Not after an initial: the names of those who write subtitles have them.

_SOUND_MARK: Final = re.compile(r"\[[^\]]*\]|\([^)]*\)|（[^）]*）|【[^】]*】|\*[^*]+\*|[♩♪♫♬]")

_SOUNDS: Final = frozenset("музыка аплодисменты смех шум тишина выстрел music applause laughter".split())

_BROADCASTER: Final = re.compile(r"(?:copyright )?(?:swr|wdr|br|ndr|mdr|zdf|ard|orf|srf)(?: \w+)? (?:19|20)\d\d")

_SIGNATURES: Final = _table(
    """
    Amara.org | contact www.OpenSubtitles.org | Transcription by CastingWords | www.sdimedia.com | btistudios.com
    Untertitel im Auftrag des ZDF | Untertitelung im Auftrag des ZDF | Untertitelung des ZDF | Untertitel des ZDF
    Untertitel von Stephanie Geiges | Sous-titrage ST' 501 | Sous-titrage Société Radio-Canada
    Sottotitoli e revisione a cura di QTSS | Tekstet av Nicolai Winther | Danske tekster af Nicolai Winther
    Undertekster av Ai-Media | Textning Stina Hedin | Titulky vytvořil JohnyX | Altyazı M.K. | Sesli Betimleme Derneği
    DimaTorzok | Субтитры создавал | Субтитры сделал | Субтитры подготовил | Редактор субтитров А.
    Корректор А.Кулакова | Корректор А.Егорова | Υπότιτλοι AUTHORWAVE | ترجمة نانسي قنقر | Ghiền Mì Gõ
    字幕by | 索兰娅 | 索蘭婭 | 明镜与点点 | 明鏡與點點 | 优优独播剧场 | 優優獨播劇場 | 中文字幕志愿者 | 中文字幕志願者
    한글자막 by | 자막 제공 및 | 자막by
    """
)

_OPENINGS: Final = _table(
    """
    Subtitles by the | Captioned by | Closed captioning by | Untertitelung aufgrund | Untertitelung von
    Sous-titrage FR | Sous-titres réalisés par | Sous-titres réalisés para | Subtítulos realizados por | Subtitulado por
    Legendado por | Legendas pela comunidade | Sottotitoli creati dalla | Sottotitoli a cura di | Napisy stworzone przez
    Napisy wykonał | Titulky vytvořil | Ondertiteld door | Ondertitels ingediend door | TV Gelderland 20 | Textat av
    Undertekster av | Редактор субтитров | Субтитрувальниця | Bu dizinin betimlemesi | 作词作曲 | 作詞作曲 | 作词 | 作詞
    """
)

_FAREWELLS: Final = frozenset(
    _table(
        """
        you | thank you | thanks | thank you very much | thank you so much | thank you for watching
        thanks for watching | thank you so much for watching | thank you all for watching | thank you for your watching
        thank you for listening | please subscribe | please subscribe to my channel | please like and subscribe
        like and subscribe | don't forget to subscribe | don't forget to like and subscribe | subscribe to my channel
        see you next time | see you in the next video | I'll see you in the next video | I'll see you next time | bye
        bye bye | the end | music | applause | silence | to be continued | Vielen Dank | Vielen Dank fürs Zuschauen
        Vielen Dank für's Zuschauen | Danke fürs Zuschauen | Danke | Vielen Dank für die Aufmerksamkeit
        Bis zum nächsten Mal | Tschüss | Untertitel | Untertitelung | Musik | Merci | Merci d'avoir regardé cette vidéo
        Merci d'avoir regardé | Merci à tous | Abonnez-vous | À bientôt | Musique
        Merci d'avoir regardé cette vidéo et à bientôt | Sous-titres | Sous-titrage | Gracias | Muchas gracias
        Gracias por ver el video | Gracias por ver | Gracias por ver este video | Suscríbete | Suscríbete al canal
        Hasta la próxima | ¡Hasta luego! | Música | Subtítulos | Adiós | Obrigado | Obrigada | Muito obrigado
        Obrigado por assistir | Obrigado por ter assistido | Tchau | Inscreva-se no canal | Legendas | Legenda
        Até a próxima | Grazie | Grazie a tutti | Grazie per la visione | Grazie per aver guardato il video
        Iscriviti al canale | Sottotitoli | Dziękuję | Dziękuję za uwagę | Dziękuję za oglądanie
        Dziękuję za obejrzenie | Dzięki za oglądanie | Dzięki za obejrzenie | Bedankt voor het kijken | Dank u wel
        Tot de volgende keer | Ondertiteling | Bedankt | Tack för att ni tittade | Tack för att du tittade | Tack
        Takk for at du så på | Takk for at dere så på | Tak fordi du så med | Kiitos | Kiitos kun katsoit
        Kiitos katsomisesta | Děkuji | Děkuji za pozornost | Titulky | Köszönöm | Köszönöm a figyelmet
        Köszönöm, hogy megnézted | Mulțumesc | Mulțumesc pentru vizionare | Hvala | Hvala što pratite | Teşekkürler
        Teşekkür ederim | İzlediğiniz için teşekkür ederim | İzlediğiniz için teşekkürler | Abone olmayı unutmayın
        Bu videoyu izlediğiniz için teşekkürler | Bu videoyu izlediğiniz için teşekkür ederim | Altyazı
        Продолжение следует | Спасибо за просмотр | Спасибо за внимание | Спасибо | До новых встреч | До свидания
        Субтитры | Подписывайтесь на канал | Подписывайтесь на наш канал | Дякую за перегляд | Дякую за увагу | Дякую
        Ευχαριστώ | Ευχαριστώ που παρακολουθήσατε | Υπότιτλοι | תודה רבה | תודה | תודה שצפיתם | شكرا | شكرا للمشاهدة
        شكرا لكم | اشتركوا في القناة | لا تنسوا الاشتراك في القناة | ترجمة | धन्यवाद | देखने के लिए धन्यवाद
        Terima kasih | Terima kasih telah menonton | Sampai jumpa | Cảm ơn các bạn đã theo dõi
        Hẹn gặp lại các bạn trong những video tiếp theo | ขอบคุณที่รับชม | ขอบคุณครับ | ขอบคุณค่ะ
        ご視聴ありがとうございました | ご視聴ありがとうございます | ご清聴ありがとうございました
        ありがとうございました | ありがとうございます | チャンネル登録お願いします | チャンネル登録をお願いします
        チャンネル登録よろしくお願いします | 最後までご視聴ありがとうございました | 最後まで見てくれてありがとう
        また次の動画でお会いしましょう | おやすみなさい | おはようございます | 시청해주셔서 감사합니다
        시청해 주셔서 고맙습니다 | 감사합니다 | 고맙습니다 | 구독과 좋아요 부탁드립니다 | 다음 영상에서 만나요
        안녕하세요 | MBC 뉴스 | MBC 뉴스입니다 | MBC 뉴스 이덕영입니다 | 뉴스 스토리였습니다 | 끝 | 谢谢观看 | 謝謝觀看
        感谢观看 | 感謝觀看 | 谢谢大家 | 謝謝大家 | 谢谢收看 | 謝謝收看 | 多谢您的观看 | 多謝您的觀看 | 请订阅 | 請訂閱
        感谢您的观看 | 感謝您的觀看 | 下次再见 | 下次再見 | 谢谢 | 謝謝 | 未完待续 | 未完待續 | 多謝晒
        """
    )
)
