"""Calls every function of libretranslate-aio: `python libretranslate_aio_calls.py URL KEY`."""

import asyncio
import io
import sys

import httpx
from libretranslate_aio import AsyncLibreTranslate, BadRequestError, ForbiddenError, LibreTranslate

URL, KEY = sys.argv[1], sys.argv[2] or None
client = LibreTranslate(URL, api_key=KEY)
SENTENCE = "Here is a sentence."


def raised(call, kind, message):
    """Return whether a call raises an error of a kind with a message."""
    try:
        call()
    except kind as error:
        return message in str(error)
    return False


def translated_file():
    file = io.BytesIO(b"proton beam")
    file.name = "a.txt"
    url = client.translate_file(file, "en", "de").translated_file_url
    return httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}).text


async def asynchronous():
    async with AsyncLibreTranslate(URL, api_key=KEY) as each:
        found = await each.translate(["proton beam", SENTENCE], "en", "de")
        return found.translated_text


CALLS = {
    "translate": lambda: client.translate("proton beam", "en", "de").translated_text == "Protonenstrahl",
    "translate, list": lambda: client.translate(["Apple", "Banana"], "en", "de").translated_text == ["Apfel", "Banane"],
    "translate, detected": lambda: client.translate(SENTENCE, "auto", "de").detected_language.language == "en",
    "translate, html": lambda: "<b>" in client.translate("<b>Apple</b>", "en", "de", format="html").translated_text,
    "translate, alternatives": lambda: client.translate("Apple", "en", "de", alternatives=2).alternatives,
    "translate, error": lambda: raised(
        lambda: client.translate("a", "en", "zz"), BadRequestError, "zz is not supported"
    ),
    "translate_file": lambda: translated_file() == "Protonenstrahl",
    "detect": lambda: client.detect(SENTENCE)[0].language == "en",
    "languages": lambda: any(each.code == "en" and "de" in each.targets for each in client.languages()),
    "suggest": lambda: raised(lambda: client.suggest("a", "b", "en", "de"), ForbiddenError, "Suggestions are disabled"),
    "frontend_settings": lambda: client.frontend_settings().char_limit > 0,
    "health": lambda: client.health(),
    "asynchronous translate": lambda: asyncio.run(asynchronous()) == ["Protonenstrahl", "Hier ist ein Satz."],
}
for name, call in CALLS.items():
    try:
        print(f"passed {name}" if call() else f"failed {name}")
    except Exception as error:
        print(f"failed {name}: {error!r}")
