"""Marian, translating with our weights: `python marian.py FOLDER`, with requests and answers as in `translator.py`.

FOLDER was written by `allyouneed export --format marian-native`. Runs in Marian's own environment, which has no torch.
One thread. A batch has sentences of one length, because the CPU code of Marian's newer Transformer ignores the source
of padded ones.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import defaultdict

import _pymarian
import sentencepiece


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep output of the peer out of the answers
    folder = sys.argv[1]
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/vocab.spm")
    translator = _pymarian.Translator(
        f"--config {folder}/decoder.yml --cpu-threads 1 --workspace 128 --mini-batch 64 "
        "--no-spm-encode --no-spm-decode --allow-special --quiet"
    )
    for line in sys.stdin:
        request = json.loads(line)
        sentences, by_length = request["sentences"], defaultdict(list)
        for number, ids in enumerate(sentences):
            by_length[len(ids)].append(number)
        translations: list[list[int]] = [[] for _ in sentences]
        for numbers in by_length.values():
            texts = [
                " ".join(pieces.id_to_piece(sentences[number][:-1])) for number in numbers
            ]  # Marian appends the end
            for number, text in zip(numbers, translator.translate(texts, beam_size=request["beam"]), strict=True):
                translations[number] = pieces.piece_to_id(text.split(" ")) if text else []
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"translations": translations, "peak": peak}), file=answers, flush=True)


if __name__ == "__main__":
    main()
