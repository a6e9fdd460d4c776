"""Inference with an exported Marian folder in Hugging Face's transformers, to verify the export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import TokenTranslator
from allyouneed.exchange.hugging_face.export import vocabulary_of

try:
    from transformers import MarianMTModel, MarianTokenizer
except ImportError as error:
    raise UserError("the package transformers is not installed: pip install 'allyouneed[exchange]'.") from error


def marian_translator(folder: Path, bundle: Bundle) -> TokenTranslator:
    """Load an exported folder in transformers, with its tokenizer and generation settings.

    Args:
        folder: The folder that `export_marian` wrote.
        bundle: The exported bundle.

    Returns:
        A function from texts and a beam size to target tokens.
    """
    model, tokenizer = _load(folder)
    extra_length = bundle.config.search.max_extra_length
    special = {model.config.pad_token_id, model.config.eos_token_id, model.config.decoder_start_token_id}

    def translate(texts: Sequence[str], beam_size: int) -> list[list[str]]:
        translations = []
        for text in texts:
            source = tokenizer([text], return_tensors="pt")
            max_length = source["input_ids"].shape[1] + extra_length + 1
            ranked = {"length_penalty": 0.0} if beam_size > 1 else {}  # greedy search has none, and warns of it
            ids = model.generate(**source, num_beams=beam_size, max_length=max_length, **ranked)[0]
            translations.append(tokenizer.convert_ids_to_tokens([i for i in ids.tolist() if i not in special]))
        return translations

    return translate


@torch.inference_mode()
def largest_logit_difference(folder: Path, bundle: Bundle, sources: Sequence[str], targets: Sequence[str]) -> float:
    """Compute the largest absolute difference between the logits of both models, without padding and start.

    Args:
        folder: A Marian folder.
        bundle: The corresponding bundle; its model is set to evaluation mode.
        sources: Source sentences.
        targets: A target sentence for each source.

    Returns:
        The maximum over all sentence pairs, positions and tokens.
    """
    model, _ = _load(folder)
    bundle.model.eval()
    tokenizer = bundle.tokenizer
    source_rows, target_rows = vocabulary_of(tokenizer).rows, vocabulary_of(tokenizer.target).rows
    compared = [i for i in range(len(target_rows)) if i not in (PAD, BOS)]
    largest = 0.0
    for source, target in zip(sources, targets, strict=True):
        source_ids, target_ids = [*tokenizer.encode(source), EOS], [BOS, *tokenizer.target.encode(target)]
        logits = bundle.model(torch.tensor([source_ids]), torch.tensor([target_ids]))[0]
        decoder_input = [model.config.decoder_start_token_id, *(target_rows[i] for i in target_ids[1:])]
        marian_logits = model(
            input_ids=torch.tensor([[source_rows[i] for i in source_ids]]),
            decoder_input_ids=torch.tensor([decoder_input]),
        ).logits[0]
        difference = logits[:, compared] - marian_logits[:, [target_rows[i] for i in compared]]
        largest = max(largest, difference.abs().max().item())
    return largest


def _load(folder: Path) -> tuple[Any, Any]:
    """Load model and tokenizer."""
    model = MarianMTModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return model, MarianTokenizer.from_pretrained(folder, local_files_only=True)
