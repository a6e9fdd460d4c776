"""What a model's heads do while any code of yours runs: a training step, an evaluation, a line in a notebook."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from allyouneed.data.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.coding import choose_plan
from allyouneed.insight.explorer import BUDGET, FORMAT, attention_sizes, model_facts, packed_attention, packed_stages
from allyouneed.insight.page import html
from allyouneed.insight.switches import Switches
from allyouneed.insight.variant import entropies, slope, weights_of
from allyouneed.insight.words import links_of
from allyouneed.model.probe import KINDS, AttentionRecorder, record_attention
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer


class Recording:
    """The last pass of the model inside the block; its first sentence is what `_repr_html_`, in a notebook, shows.

    encoder, decoder, cross: weights of a sentence [layer, head, query, key], of which padding is not cut.
    """

    def __init__(self, model: Transformer, recorded: AttentionRecorder, tokenizer: AnyTokenizer | None):
        self.model, self.recorded, self._tokenizer = model, recorded, tokenizer

    @property
    def encoder(self) -> np.ndarray:
        return self._weights("encoder")

    @property
    def decoder(self) -> np.ndarray:
        return self._weights("decoder")

    @property
    def cross(self) -> np.ndarray:
        return self._weights("cross")

    def stages(self, kind: str, layer: int) -> dict[str, np.ndarray]:
        """Of the first sentence; the names are those of `Attention.stages`. kind: "encoder", "decoder" or "cross"."""
        self._refuse_nothing()
        return self.recorded.arrays(kind, 0)[layer]

    def data(self) -> dict[str, Any]:
        """As `explorer.explorer_data`, without what was not computed: no variants, predictions or search."""
        self._refuse_nothing()
        recorded = self.recorded
        plan = choose_plan(attention_sizes(recorded), 0, BUDGET)
        weights = weights_of(recorded)
        source = self._tokens(recorded.source_ids[0].tolist())
        inputs = self._tokens(recorded.target_ids[0].tolist(), of_target=True)
        target = [*inputs[1:], "→"]
        entropy = [round(x, 3) for kind in KINDS for x in entropies(weights[kind]).flatten().tolist()]
        cross = weights["cross"][deciding_layer(len(weights["cross"]))].mean(axis=0)
        links = links_of(cross, range(len(source)), range(len(target)))
        base = {
            "key": "",
            "switches": Switches().as_json(),
            "source_tokens": source,
            "entropy": entropy,
            "slope": slope(weights),
            "change": [0] * len(entropy),
            "predictions": None,
            "translation": None,
            "attention": packed_attention(recorded, plan),
        }
        return {
            "format": FORMAT,
            "text": self._text(source),
            "translation": self._text(inputs),
            "languages": None,
            "model": model_facts(self.model),
            "source": {"text": "", "tokens": source, "words": _words(source)},
            "target": {"text": "", "tokens": target, "inputs": inputs, "words": _words(target)},
            "base": base,
            "variants": {},
            "stages": packed_stages(recorded, plan),
            "links": links,
            "search": None,
        }

    def html(self) -> str:
        """The explorer as a page of its own, to write into a file."""
        return html(self.data())

    def _repr_html_(self) -> str:
        """The explorer in a frame of its own, which may run its script and nothing else."""
        page = escaping.escape(self.html(), quote=True)
        frame = 'width="100%" height="900" style="border: 0" sandbox="allow-scripts allow-downloads"'
        return f'<iframe {frame} title="allyouneed" srcdoc="{page}"></iframe>'

    def _weights(self, kind: str) -> np.ndarray:
        self._refuse_nothing()
        return weights_of(self.recorded)[kind]

    def _refuse_nothing(self) -> None:
        if not self.recorded.sites:
            raise UserError("nothing was recorded: call the model inside the `with` block.")

    def _tokens(self, ids: list[int], of_target: bool = False) -> list[str]:
        if self._tokenizer is None:
            return [f"#{i}" for i in ids]
        return (self._tokenizer.target if of_target else self._tokenizer).pieces(ids)

    def _text(self, tokens: list[str]) -> str:
        words = "".join(token for token in tokens if token not in ("<s>", "</s>", "<pad>"))
        return words.replace("▁", " ").strip() if self._tokenizer else " ".join(tokens)


@contextmanager
def record(model: Transformer, tokenizer: AnyTokenizer | None = None) -> Iterator[Recording]:
    """Keeps every head of the last pass, with its stages. The output stays the same to rounding.

    tokenizer: so that tokens have names. Inside the block attention takes its explicit path, in training too; outside
    the fused kernels stay. Example: `with record(model) as seen: model(source_ids, target_ids)`, then `seen.cross`.
    """
    with record_attention(model, stages=True) as recorded:
        yield Recording(model, recorded, tokenizer)


def _words(tokens: list[str]) -> list[list[int]]:
    return [[i, i + 1, -1, -1] for i in range(len(tokens) - 1)]
