"""Translate from Python.

    python examples/translate.py RUN "2024년 2월 29일"

RUN is a folder created by `allyouneed train` or `allyouneed quickstart` (runs/quickstart).
"""

import sys

import allyouneed

if len(sys.argv) < 3:
    sys.exit(f"usage: python {sys.argv[0]} RUN SENTENCE ...")
run, *sentences = sys.argv[1:]
translator = allyouneed.Translator.load(run)

for translation in translator.translate(sentences, beam_size=4, num_hypotheses=2):
    print(f"{translation.source}  →  {translation.text}")
    for text, score in translation.hypotheses:
        print(f"  {score:7.3f}  {text}")
    source, target = translation.source.split(), translation.text.split()
    print("  ", ", ".join(f"{source[i]}-{target[j]}" for i, j in translation.alignment))
