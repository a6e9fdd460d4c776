"""The measurements of the trainings as the file that the explorer shows (`insight.twins`)."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.bundle import load_bundle
from allyouneed.data.prepared import PreparedData
from allyouneed.files import write_file
from allyouneed.insight.twins import FILE, check_ablations
from allyouneed.model.probe import KINDS
from allyouneed.paper.questions.observations import PAIRS, sample_pairs
from allyouneed.paper.questions.variants import VARIANTS
from allyouneed.paper.results_folder import Results, machine

_MAX_TRANSLATION = 400  # characters; early models repeat a token until the length limit


def training_facts(folder: Path, data: Path) -> dict[str, Any]:
    """Collect the facts that the runs share.

    Args:
        folder: Folder of the results, with a RUN "paper".
        data: Folder of the prepared data.

    Returns:
        The entries of the file besides `runs`, `signature` and `steps`.
    """
    bundle, prepared = load_bundle(folder / "paper"), PreparedData(data)
    config, store = bundle.config, prepared.valid_pairs
    report = prepared.report()["train"]
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "languages": list(bundle.languages),
        "files": [Path(name).name for name in report["files"]],
        "pairs": report["kept"],
        "model": {
            "layers": [config.model.encoder_layers, config.model.decoder_layers],
            "d_model": config.model.d_model,
            "d_ff": config.model.d_ff,
            "parameters": bundle.model.num_parameters(),
            "vocabulary": len(bundle.tokenizer),
        },
        "batch_tokens": config.training.batch_tokens,
        "seed": config.training.seed,
        "bleu_sentences": min(config.training.bleu_sentences, len(store)),
        "measured_pairs": min(PAIRS, len(store)),
        "sentences": [list(pair) for pair in sample_pairs(bundle.languages, prepared.valid_texts())],
        "uniform": uniform_entropies(
            *(side.lengths_with_end[:PAIRS].astype(int) for side in (store.source, store.target))
        ),
    }


def uniform_entropies(source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Compute the mean entropy of uniform weights over the visible keys, as `attention_statistics` averages.

    Args:
        source: Lengths of the sources, </s> included.
        target: Numbers of decoder inputs.

    Returns:
        Entropies in nats by kind.
    """
    visible = {
        "encoder": np.repeat(source, source),
        "decoder": np.concatenate([np.arange(2, length + 1) for length in target]),
        "cross": np.repeat(source, target),
    }
    return {kind: float(np.log(keys).mean()) if len(keys) else 0.0 for kind, keys in visible.items()}


def write_ablations(results: Results) -> Path:
    """Write the file.

    Args:
        results: Results with the part "facts" and one per training.

    Returns:
        The path of the file.
    """
    parts = results.parts
    content = {
        "format": 1,
        **parts["facts"],
        "steps": parts["paper"]["steps"],
        "signature": parts["paper"]["signature"],
        "runs": {name: _run(parts[name], dict(variant.changes)) for name, variant in VARIANTS.items()},
    }
    path = results.folder / FILE
    text = json.dumps(_rounded(content), ensure_ascii=False, separators=(",", ":")) + "\n"
    check_ablations(text, path)
    write_file(path, text)
    return path


def _run(part: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    points = part["observed"]
    quality = dict(part["quality"])
    return {
        "title": part["title"],
        "changes": changes,
        "heads": part["model"]["heads"],
        "d_k": part["model"]["d_k"],
        "training": part["training"],
        "validation": [[step, loss, quality.get(step)] for step, loss in part["validation"]],
        "final": {name: part[name] for name in ("loss", "masked", "bleu")},
        **{
            name: [point[key] for point in points]
            for name, key in (("steps", "step"), ("accuracy", "accuracy"), ("gradient", "gradient"))
        },
        **{
            name: {kind: [point[name][kind] for point in points] for kind in KINDS} for name in ("saturated", "entropy")
        },
        **{
            name: {kind: [point["projections"][kind][name] for point in points] for kind in KINDS}
            for name in ("query", "key")
        },
        "translations": [[text[:_MAX_TRANSLATION] for text in point["translations"]] for point in points],
    }


def _rounded(value: Any, digits: int = 4) -> Any:
    """Round floats to significant digits; final scores to more, since texts round them again."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _rounded(each, 8 if key == "final" else digits) for key, each in value.items()}
    return [_rounded(each, digits) for each in value] if isinstance(value, list | tuple) else value
