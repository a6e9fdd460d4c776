"""COMET (Rei et al. 2020), a learned metric, by the optional package `unbabel-comet`. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from allyouneed.errors import UserError
from allyouneed.translation.evaluation.metrics import MetricScore

DEFAULT_MODEL = "Unbabel/wmt22-comet-da"
_BATCH = 16  # sentences


class CometMetric:
    """A COMET model.

    Args:
        model: Path of a checkpoint (`model.ckpt`), or the name of a model that is already downloaded.

    Raises:
        UserError: If the package is not installed, or the model is not on this machine.
    """

    def __init__(self, model: str = DEFAULT_MODEL):
        try:
            package = import_module("comet")
        except ImportError as error:
            raise UserError(f"COMET needs its package: pip install unbabel-comet ({error}).") from error
        self.name = model
        checkpoint = _checkpoint(model)
        try:  # the text encoder's settings are in Hugging Face's cache
            self.model: Any = package.load_from_checkpoint(str(checkpoint), local_files_only=True)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"COMET's model {checkpoint} cannot be loaded ({reason}). Its encoder must be on this machine, too: "
                "hf download xlm-roberta-large"
            ) from error

    def score(
        self, sources: Sequence[str], translations: Sequence[str], references: Sequence[Sequence[str]]
    ) -> MetricScore:
        """Compute the mean score of a corpus; with several references, the mean over them.

        Args:
            sources: Source sentences.
            translations: Translations, one per sentence.
            references: References, [reference][sentence].
        """
        means = []
        for targets in references:
            rows = [
                {"src": source, "mt": output, "ref": target}
                for source, output, target in zip(sources, translations, targets, strict=True)
            ]
            gpus = int(torch.cuda.is_available())
            scores = self.model.predict(rows, batch_size=_BATCH, gpus=gpus, progress_bar=False).scores
            means.append(sum(scores) / max(1, len(scores)))
        signature = f"nrefs:{len(references)}|model:{self.name}|version:{_version()}"
        return MetricScore(sum(means) / len(means), signature)


def _checkpoint(model: str) -> Path:
    """Find a checkpoint; `comet.download_model` is not used, because it downloads some models in any case."""
    path = Path(model)
    if not path.exists():
        try:
            path = Path(import_module("huggingface_hub").snapshot_download(model, local_files_only=True))
        except Exception as error:  # of Hugging Face's client: not found locally, or not a name
            raise UserError(
                f"COMET's model {model} is not on this machine. Give the path of its checkpoint (--comet-model), or "
                f"download it: hf download {model}"
            ) from error
    return next(path.rglob("model.ckpt"), path) if path.is_dir() else path


def _version() -> str:
    return version("unbabel-comet")
