"""COMET (Rei et al. 2020), a learned metric, by the optional package `unbabel-comet`. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from allyouneed.errors import UserError
from allyouneed.translation.metrics import MetricScore

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
        self.model: Any = package.load_from_checkpoint(str(_checkpoint(package, model)))

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
            scores = self.model.predict(rows, batch_size=_BATCH, gpus=0, progress_bar=False).scores
            means.append(sum(scores) / max(1, len(scores)))
        signature = f"nrefs:{len(references)}|model:{self.name}|version:{_version()}"
        return MetricScore(sum(means) / len(means), signature)


def _checkpoint(package: Any, model: str) -> Path:
    path = Path(model)
    if path.is_dir():
        path = next(path.rglob("model.ckpt"), path)
    if path.is_file():
        return path
    try:
        return Path(package.download_model(model, local_files_only=True))
    except Exception as error:  # of Hugging Face's client: not found locally, or not a name
        raise UserError(
            f"COMET's model {model} is not on this machine. Give the path of its checkpoint (--comet-model), or "
            f"download it: hf download {model}"
        ) from error


def _version() -> str:
    return version("unbabel-comet")
