"""Translate a large file of lines with Ray Data, on one machine or on a cluster whose machines share the files.

python examples/ray_translate.py RUN FILE OUTPUT WORKERS
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import ray

import allyouneed
from allyouneed.data.files.lines import read_text
from allyouneed.translation.line_translation import translate_block
from allyouneed.translation.requirements import Requirements


def read(file: dict[str, Any]) -> Iterator[dict[str, Any]]:  # in one task, which pauses while the workers have enough
    lines = enumerate(read_text(Path(file["path"][0])), start=1)
    while block := list(islice(lines, 4000)):
        yield {"first": [block[0][0]], "text": ["\n".join(line for _, line in block)]}


class Translate:  # a worker, which loads the model once; if it is killed, Ray starts another and repeats its block
    def __init__(self, run: str, file: str):
        self.translator, self.file = allyouneed.Translator.load(run, inter_threads=1), Path(file)

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        lines = list(enumerate(block["text"].split("\n"), start=block["first"]))
        options, required = allyouneed.SearchOptions(), Requirements()
        found = translate_block(self.translator, lines, self.file, options, print, requirements=required)
        return {"text": "".join(f"{translation.text}\n" for _, translation in found)}


if len(sys.argv) != 5:
    sys.exit(f"usage: python {sys.argv[0]} RUN FILE OUTPUT WORKERS")
context = ray.data.DataContext.get_current()
context.execution_options.preserve_order, context.target_max_block_size = True, 1  # a block of lines is one of Ray's
blocks = ray.data.from_items([{"path": sys.argv[2]}]).map_batches(read, num_cpus=0)
pool, worker = ray.data.ActorPoolStrategy(size=int(sys.argv[4])), cast(Any, Translate)  # Ray's type is too narrow
with open(sys.argv[3], "w", encoding="utf-8") as output:
    found = blocks.map(worker, fn_constructor_args=sys.argv[1:3], compute=pool, num_cpus=1)
    output.writelines(row["text"] for row in found.iter_rows())
