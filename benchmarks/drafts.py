"""Measure verified drafts: `python benchmarks/drafts.py RUN --train FILE --source FILE [--sentences 200]`.

Greedy search of single sentences on one thread, without drafts and with 1, 3 and 7 drafted tokens per step, in
alternation. Drafts are learned from the model's translations of the training text. Larger models are made from RUN by
repeating its features, adding layers that change nothing and tokens that are never chosen: they generate what RUN does,
with the weights of a model of their size. Every result is compared bitwise. The page is in benchmarks/results.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import numpy as np  # noqa: E402
import torch  # noqa: E402

from allyouneed import Translator, UserError  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.data.tokens.tokenizer import EOS  # noqa: E402
from allyouneed.kernels.launch import threads  # noqa: E402
from allyouneed.model.transformer import Transformer  # noqa: E402
from allyouneed.translation.draft_memory import learn_drafts  # noqa: E402
from allyouneed.translation.engine.drafted_search import Drafts  # noqa: E402
from allyouneed.translation.engine.engine import Engine  # noqa: E402
from allyouneed.translation.engine.memory import pays  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

COUNTS = (1, 3, 7)
SIZES = ((1, None, None), (2, None, None), (2, None, 32_000), (4, 6, 32_000))  # times the width, layers, vocabulary
_POSITIONS = 256


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    translator = Translator.load(args.run, inter_threads=1)
    tokenizer = translator.tokenizer
    lines = list(read_text(args.source))[: args.sentences]
    sources = [torch.tensor([[*ids, EOS]]) for ids in tokenizer.encode_all(lines)]
    sources = [ids for ids in sources if ids.shape[1] + args.extra < _POSITIONS]
    text = list(islice(read_text(args.train), args.pairs))
    found = translator.translate(text, beam_size=1, return_scores=False)
    memory = learn_drafts(
        tokenizer, tokenizer.encode_all(text), tokenizer.target.encode_all([each.text for each in found])
    )
    size = sum(table.nbytes for table in memory) / 1e6
    rows = []
    for times, layers, vocabulary in SIZES:
        model = translator.model if times == 1 else enlarged(translator.model, times, layers, vocabulary)
        for in_bytes in (False, True):
            with threads(1):
                rows += _rows(model, in_bytes, {count: Drafts(memory, count) for count in COUNTS}, sources, args)
                print(rows[-1], flush=True)
    table = "\n".join(
        [
            "| model | drafts | tokens per step | p50, ms | p99, ms | speed of a search | on by default |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )
    described = (
        f"{len(sources)} sentences, {args.rounds} rounds, one thread; tables of {size:.1f} MB from {len(text):,}"
    )
    described += " sentences. The speed is that of the mean time, relative to the same model without drafts."
    page = args.out / f"{time.strftime('%Y-%m-%d')}-drafts.md"
    args.out.mkdir(parents=True, exist_ok=True)
    page.write_text(
        f"# Verified drafts, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{described}\n\n{table}\n", encoding="utf-8"
    )
    print(f"\n{table}\n\n{page}")


def _rows(
    model: Transformer,
    in_bytes: bool,
    drafts: dict[int, Drafts],
    sources: list[torch.Tensor],
    args: argparse.Namespace,
) -> list[str]:
    """Measure a model in alternation, and return rows of the table."""
    engine = Engine(model, in_bytes)
    seconds: dict[int, list[float]] = {count: [] for count in (0, *drafts)}
    steps, tokens = dict.fromkeys(seconds, 0), 0
    for _ in range(args.rounds):
        for source in sources:
            limit = source.shape[1] + args.extra - 1
            begin = time.perf_counter()
            plain = engine.greedy(source, [limit], False)
            seconds[0].append(time.perf_counter() - begin)
            length = int(plain[2][0])
            tokens, steps[0] = tokens + length, steps[0] + length
            for count, each in drafts.items():
                begin = time.perf_counter()
                drafted = each.search([engine], source, limit, False)
                seconds[count].append(time.perf_counter() - begin)
                steps[count] += drafted.steps
                if drafted.ids[0, :length].tolist() != plain[0][0, :length].tolist():
                    raise AssertionError("a drafted translation differs")
    config, vocabulary = model.config, model.output.out_features
    name = f"{'int8' if in_bytes else 'float32'}, {config.decoder_layers} layers, width {config.d_model}, "
    name += f"{vocabulary:,} tokens"
    default = "yes" if pays(model, 1 if in_bytes else 4) else "no"
    return [
        f"| {name} | {count or 'none'} | {tokens / steps[count]:.2f} | {np.percentile(times, 50) * 1e3:.2f} | "
        f"{np.percentile(times, 99) * 1e3:.2f} | {np.mean(seconds[0]) / np.mean(times):.2f} | "
        f"{default if count == 3 else ''} |"
        for count, times in seconds.items()
    ]


@torch.no_grad()
def enlarged(model: Transformer, times: int, layers: int | None = None, vocabulary: int | None = None) -> Transformer:
    """Return a larger model whose logits are those of a pre-norm model up to rounding, with further tokens below them.

    Args:
        model: The model, with tied embeddings.
        times: Factor of the widths; a feed-forward layer has twice as many units again.
        layers: Number of layers of encoder and decoder. Default: the model's.
        vocabulary: Size of the vocabulary. Default: the model's.
    """
    old, vocabulary = model.config, vocabulary or model.output.out_features
    sizes = {name: getattr(old, name) * times for name in ("d_model", "num_heads")}
    sizes |= {name: layers or getattr(old, name) for name in ("encoder_layers", "decoder_layers")}
    changes = {**sizes, "d_ff": 2 * times * old.d_ff, "positions": "learned", "max_positions": _POSITIONS}
    large = Transformer(old.model_copy(update={**changes, "tie_embeddings": False}), vocabulary).eval()
    weights = dict(model.named_parameters())
    embedding = model.source_embedding.tokens.weight
    for name, weight in large.named_parameters():
        if name.endswith("positions"):
            weight.copy_(model.source_embedding.position_encodings(0, _POSITIONS).repeat(1, times))
        elif name.endswith("tokens.weight") or name == "output.weight":
            factor = 1 / times if name == "output.weight" else 1 / math.sqrt(times)
            rows = embedding.repeat(-(-vocabulary // len(embedding)), times)[:vocabulary] * factor
            if name == "output.weight":  # smaller copies of the tokens
                rows[len(embedding) :] *= torch.linspace(0.3, 0.9, vocabulary - len(embedding))[:, None]
            weight.copy_(rows)
        elif name not in weights:  # a layer that adds nothing
            weight.fill_(float("norm" in name and name.endswith("weight")))
            if weight.dim() == 2 and ".output." not in name and ".outer." not in name:
                weight.normal_(std=weight.shape[1] ** -0.5)
        else:
            part = weights[name] / times if weight.dim() == 2 else weights[name]
            repeated = part.repeat(*(times,) * weight.dim())
            weight.zero_()
            weight[tuple(slice(size) for size in repeated.shape)] = repeated
    return large


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="text to learn drafts from")
    parser.add_argument("--source", type=Path, required=True, help="text to translate")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=29_000, help="sentences of --train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extra", type=int, default=50, help="maximum length beyond the source's")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
