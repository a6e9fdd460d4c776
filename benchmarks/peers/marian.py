"""Marian, translating with our weights: `python marian.py FOLDER`, with requests and answers as in `translator.py`.

FOLDER was written by `benchmarks/measure/marian.py`. Runs in Marian's own environment, which has no torch. One thread.
A batch has sentences of one length, because the CPU code of Marian's newer Transformer ignores the source of padded
ones.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import defaultdict

import _pymarian

UNK = 1


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep output of the peer out of the answers
    folder = sys.argv[1]
    translator = _pymarian.Translator(
        f"--models {folder}/model.npz --vocabs {folder}/vocabulary.yml {folder}/vocabulary.yml --cpu-threads 1 "
        "--workspace 128 --mini-batch 64 --max-length 1024 --normalize 0 --quiet"
    )
    for line in sys.stdin:
        request = json.loads(line)
        sentences, by_length = request["sentences"], defaultdict(list)
        for number, ids in enumerate(sentences):
            by_length[len(ids)].append(number)
        translations: list[list[int]] = [[] for _ in sentences]
        for numbers in by_length.values():
            texts = [" ".join(map(_name, sentences[number][:-1])) for number in numbers]  # Marian appends the end
            for number, text in zip(numbers, translator.translate(texts, beam_size=request["beam"]), strict=True):
                translations[number] = [int(name[1:]) for name in text.split()]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"translations": translations, "peak": peak}), file=answers, flush=True)


def _name(token: int) -> str:
    return "<unk>" if token == UNK else f"w{token}"


if __name__ == "__main__":
    main()
