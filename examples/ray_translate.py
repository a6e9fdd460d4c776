"""Translate a large file of lines with Ray Data, on one machine or on a cluster whose machines share the files.

python examples/ray_translate.py RUN FILE OUTPUT WORKERS
"""

import io
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import ray

import allyouneed
from allyouneed.data.files.lines import decode_lines
from allyouneed.translation.line_translation import translate_block
from allyouneed.translation.requirements import Requirements


class Translate:  # a worker, which loads the model once; if it is killed, Ray starts another and repeats its block
    def __init__(self, run: str):
        self.translator = allyouneed.Translator.load(run, inter_threads=1)

    def __call__(self, block: dict[str, Any]) -> dict[str, str]:
        lines = list(enumerate(decode_lines(io.BytesIO(block["content"]), Path("block")), start=1))
        options, required = allyouneed.SearchOptions(), Requirements()
        found = translate_block(self.translator, lines, Path("block"), options, print, requirements=required)
        return {"text": "".join(f"{translation.text}\n" for _, translation in found)}


if len(sys.argv) != 5:
    sys.exit(f"usage: python {sys.argv[0]} RUN FILE OUTPUT WORKERS")
ray.data.DataContext.get_current().execution_options.preserve_order = True
with open(sys.argv[2], "rb") as text, open(sys.argv[3], "w", encoding="utf-8") as output:
    while some := [{"content": b"".join(block)} for _ in range(1000) if (block := list(islice(text, 4000)))]:
        sent = ray.data.from_items(some, override_num_blocks=len(some))
        work: dict[str, Any] = {"fn": Translate, "fn_constructor_args": sys.argv[1:2], "concurrency": int(sys.argv[4])}
        output.writelines(row["text"] for row in sent.map(**work).iter_rows())
