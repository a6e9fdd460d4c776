"""Everyday phrases by language: greetings, thanks and the like, which are too short for n-grams.

Languages with a script of their own need none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection

_LONGEST_TEXT, _LONGEST_PHRASE = 8, 4  # words
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_PHRASES = {
    "af": "hallo, goeie môre, goeie dag, goeie naand, totsiens, dankie, baie dankie, asseblief, ja, nee, hoe "
    "gaan dit",
    "ar": "مرحبا, أهلا, السلام عليكم, صباح الخير, مساء الخير, مع السلامة, شكرا, شكرا جزيلا, من فضلك, نعم, لا, "
    "كيف حالك",
    "bg": "здравей, здравейте, добро утро, добър ден, добър вечер, довиждане, благодаря, моля, да, не, как си",
    "ca": "hola, bon dia, bona tarda, bona nit, adéu, gràcies, moltes gràcies, si us plau, sí, no, com estàs",
    "cs": "ahoj, dobrý den, dobré ráno, dobrý večer, dobrou noc, na shledanou, děkuji, díky, prosím, ano, ne, "
    "jak se máš",
    "cy": "helo, bore da, prynhawn da, nos da, hwyl, diolch, diolch yn fawr, sut mae",
    "da": "hej, goddag, godmorgen, god aften, godnat, farvel, tak, mange tak, undskyld, ja, nej, hvordan går "
    "det",
    "de": "hallo, guten morgen, guten tag, guten abend, gute nacht, auf wiedersehen, tschüss, tschüs, bis bald, "
    "danke, danke schön, vielen dank, bitte, entschuldigung, ja, nein, wie geht's, wie geht es dir, moin, "
    "servus, grüß gott, herzlich willkommen, willkommen, ich liebe dich",
    "en": "hello, hi, hey, good morning, good afternoon, good evening, good night, goodbye, bye, see you, see "
    "you later, thanks, thank you, thank you very much, please, sorry, yes, no, how are you, welcome, i "
    "love you",
    "eo": "saluton, bonan tagon, bonan matenon, ĝis revido, dankon, jes, ne",
    "es": "hola, buenos días, buenas tardes, buenas noches, adiós, hasta luego, hasta mañana, gracias, muchas "
    "gracias, de nada, por favor, perdón, lo siento, sí, no, qué tal, cómo estás, bienvenido, te amo, te "
    "quiero",
    "et": "tere, tere hommikust, head aega, aitäh, palun, jah, ei, kuidas läheb",
    "eu": "kaixo, egun on, arratsalde on, gabon, agur, eskerrik asko, mesedez, bai, ez, zer moduz",
    "fa": "سلام, صبح بخیر, شب بخیر, خداحافظ, ممنون, متشکرم, لطفا, بله, نه, حال شما چطور است",
    "fi": "hei, moi, terve, hyvää huomenta, hyvää päivää, hyvää iltaa, hyvää yötä, näkemiin, kiitos, anteeksi, "
    "kyllä, ei, mitä kuuluu",
    "fr": "bonjour, salut, bonsoir, bonne nuit, bonne journée, au revoir, à bientôt, à demain, merci, merci "
    "beaucoup, de rien, s'il vous plaît, s'il te plaît, pardon, désolé, oui, non, ça va, comment ça va, "
    "comment allez-vous, bienvenue, je t'aime",
    "ga": "dia duit, maidin mhaith, oíche mhaith, slán, go raibh maith agat, le do thoil",
    "gl": "ola, bos días, boas tardes, boas noites, adeus, grazas, moitas grazas, si, non",
    "hr": "bok, zdravo, dobro jutro, dobar dan, dobra večer, laku noć, doviđenja, hvala, molim, da, ne, kako si",
    "hu": "szia, helló, jó reggelt, jó napot, jó estét, jó éjszakát, viszontlátásra, köszönöm, kérem, igen, "
    "nem, hogy vagy",
    "id": "halo, hai, selamat pagi, selamat siang, selamat malam, sampai jumpa, terima kasih, tolong, maaf, ya, "
    "tidak, apa kabar",
    "is": "halló, hæ, góðan daginn, gott kvöld, góða nótt, bless, takk, takk fyrir, já, nei",
    "it": "ciao, salve, buongiorno, buonasera, buona sera, buonanotte, arrivederci, a presto, a domani, grazie, "
    "grazie mille, prego, per favore, scusa, scusi, sì, no, come stai, come va, benvenuto, ti amo",
    "lt": "labas, labas rytas, laba diena, labas vakaras, iki pasimatymo, ačiū, prašau, taip, ne, kaip sekasi",
    "lv": "sveiki, čau, labrīt, labdien, labvakar, uz redzēšanos, paldies, lūdzu, jā, nē, kā iet",
    "mk": "здраво, добро утро, добар ден, добра вечер, довидување, благодарам, да, не, како си",
    "ms": "helo, hai, selamat pagi, selamat malam, selamat tinggal, terima kasih, tolong, maaf, ya, tidak, apa "
    "khabar",
    "nl": "hallo, hoi, goedemorgen, goedemiddag, goedenavond, goede nacht, tot ziens, doei, dank je, dank je "
    "wel, dank u wel, bedankt, alsjeblieft, alstublieft, sorry, ja, nee, hoe gaat het, welkom",
    "no": "hei, hallo, god morgen, god dag, god kveld, god natt, ha det, takk, tusen takk, unnskyld, ja, nei, "
    "hvordan går det",
    "pl": "cześć, hej, dzień dobry, dobry wieczór, dobranoc, do widzenia, na razie, dziękuję, dzięki, proszę, "
    "przepraszam, tak, nie, jak się masz",
    "pt": "olá, oi, bom dia, boa tarde, boa noite, adeus, tchau, até logo, até amanhã, obrigado, obrigada, "
    "muito obrigado, por favor, desculpe, sim, não, tudo bem, como vai, eu te amo",
    "ro": "salut, bună, bună ziua, bună dimineața, bună seara, noapte bună, la revedere, mulțumesc, vă rog, da, "
    "nu, ce mai faci",
    "ru": "привет, здравствуйте, здравствуй, доброе утро, добрый день, добрый вечер, спокойной ночи, до "
    "свидания, пока, спасибо, большое спасибо, пожалуйста, извините, да, нет, как дела",
    "sk": "ahoj, dobrý deň, dobré ráno, dobrý večer, dobrú noc, dovidenia, ďakujem, prosím, áno, nie, ako sa "
    "máš",
    "sl": "živjo, dobro jutro, dober dan, dober večer, lahko noč, nasvidenje, hvala, prosim, da, ne, kako si",
    "sq": "përshëndetje, mirëmëngjes, mirëdita, mirupafshim, faleminderit, ju lutem, po, jo, si jeni",
    "sr": "здраво, ћао, добро јутро, добар дан, добро вече, лаку ноћ, довиђења, хвала, молим, да, не, како си, "
    "zdravo, hvala, dobar dan",
    "sv": "hej, hallå, god morgon, god dag, god kväll, god natt, hej då, tack, tack så mycket, förlåt, ja, nej, "
    "hur mår du",
    "sw": "jambo, habari, habari za asubuhi, kwaheri, asante, asante sana, tafadhali, ndiyo, hapana",
    "tl": "kumusta, magandang umaga, magandang hapon, magandang gabi, paalam, salamat, maraming salamat, oo, "
    "hindi",
    "tr": "merhaba, selam, günaydın, iyi günler, iyi akşamlar, iyi geceler, hoşça kal, teşekkürler, teşekkür "
    "ederim, lütfen, evet, hayır, nasılsın",
    "uk": "привіт, здрастуйте, доброго ранку, добрий ранок, добрий день, добрий вечір, до побачення, дякую, "
    "будь ласка, так, ні, як справи",
    "ur": "السلام علیکم, صبح بخیر, خدا حافظ, شکریہ, بہت شکریہ, جی ہاں, نہیں",
    "vi": "xin chào, chào bạn, chào buổi sáng, tạm biệt, cảm ơn, cảm ơn bạn, xin lỗi, vâng, không, bạn khỏe "
    "không",
    "zh": "你好, 您好, 早上好, 晚上好, 晚安, 再见, 再見, 谢谢, 謝謝, 对不起, 對不起, 是, 不是, 好",
}  # fmt: skip


def languages_of_phrase(text: str) -> Collection[str]:
    """Return the languages in which a short text is, or contains, an everyday phrase; of the longest ones found."""
    words = _words(text)
    if not 0 < len(words) <= _LONGEST_TEXT:
        return ()
    for length in range(min(len(words), _LONGEST_PHRASE), 0, -1):
        parts = (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
        if found := {language for part in parts for language in _BY_PHRASE.get(part, ())}:
            return found
    return ()


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold().replace("’", "'"))


def _by_phrase() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for language, phrases in _PHRASES.items():
        for phrase in phrases.split(","):
            found[" ".join(_words(phrase))].add(language)
    return dict(found)


_BY_PHRASE = _by_phrase()
