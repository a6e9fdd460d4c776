"""Calls every function of libretranslatepy: `python libretranslatepy_calls.py URL KEY`."""

import sys

from libretranslatepy import LibreTranslateAPI

client = LibreTranslateAPI(sys.argv[1], sys.argv[2] or None)
SENTENCE = "Here is a sentence."
for name, call, check in (
    ("translate", lambda: client.translate("proton beam", "en", "de"), lambda found: found == "Protonenstrahl"),
    ("translate, detected", lambda: client.translate(SENTENCE, "auto", "de"), lambda found: "Satz" in found),
    ("detect", lambda: client.detect(SENTENCE), lambda found: found[0]["language"] == "en"),
    ("languages", lambda: client.languages(), lambda found: {"en", "de"} <= {each["code"] for each in found}),
):
    try:
        found = call()
        print(f"passed {name}" if check(found) else f"failed {name}: {found!r}")
    except Exception as error:
        print(f"failed {name}: {error!r}")
