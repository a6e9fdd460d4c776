"""Ablations: models trained from the start without a part of attention, beside the paper's, over training.

`allyouneed paper questions` trains the models and writes the measurements to `ablations.json` in the folder of its
results. The package contains a small set, which pages show unless a folder is given. The file is a JSON object:

format          1
date, machine   when and where the models were trained
languages       [source, target] codes; `files` names of the training text, `pairs` number of sentence pairs in it
model           layers [encoder, decoder], d_model, d_ff, parameters, vocabulary: sizes of the model of the run "paper"
steps, batch_tokens, seed       the same for all runs
signature, bleu_sentences       sacreBLEU's signature, and the number of validation sentences for BLEU over training
measured_pairs                  validation pairs for entropy, saturation, gradients and accuracy
sentences       [source, reference]: sentences that each model translates during training
uniform         by kind of attention, the mean entropy of uniform weights under the paper's masks, in nats
runs            by name, see `Run`

Lists "by point" have an entry per entry of `Run.steps`. Kinds are "encoder", "decoder" and "cross".
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, mistake, read_regular

FILE = "ablations.json"
MAX_BYTES = 1_000_000
_REMEDY = "Give the folder of a finished `allyouneed paper questions`, or run that command again."

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Loss: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Step: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**12)]
Short: TypeAlias = Annotated[str, StringConstraints(max_length=200)]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=2000)]
Points: TypeAlias = Annotated[list[int], Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Kinds(_Strict):
    """A number by kind of attention."""

    encoder: Loss
    decoder: Loss
    cross: Loss


class SharesByPoint(_Strict):
    """Shares by kind and point."""

    encoder: list[Share]
    decoder: list[Share]
    cross: list[Share]


class LayersByPoint(_Strict):
    """Numbers by kind, point and layer."""

    encoder: list[list[Loss]]
    decoder: list[list[Loss]]
    cross: list[list[Loss]]


class HeadsByPoint(_Strict):
    """Numbers by kind, point, layer and head."""

    encoder: list[list[list[Loss]]]
    decoder: list[list[list[Loss]]]
    cross: list[list[list[Loss]]]


class Changes(_Strict):
    """What differs from the paper's attention during training.

    Attributes:
        scale: Divisor of the scores: "root" for √d_k, "none" for 1, "d_k" for d_k.
        future_mask: Whether the decoder's self-attention masks later positions.
        padding_mask: Whether padding of the source is masked.
        positions: Whether positional encodings are added.
    """

    scale: Literal["root", "none", "d_k"] = "root"
    future_mask: bool = True
    padding_mask: bool = True
    positions: bool = True


class Final(_Strict):
    """Scores of the finished model on the whole validation set.

    Attributes:
        loss: Negative log-likelihood in nats per token, as the model was trained.
        masked: The same with the paper's masks.
        bleu: BLEU of greedy decoding.
    """

    loss: Loss
    masked: Loss
    bleu: Loss


class Run(_Strict):
    """One training.

    Attributes:
        title: Title in tables.
        changes: What differs from the paper's attention.
        heads: Number of heads.
        d_k: Width of a query or key.
        training: [step, loss]: the loss on the batches since the entry before, in nats per token.
        validation: [step, loss, BLEU or null] on the validation set.
        final: Scores of the finished model.
        steps: Steps of the points.
        accuracy: By point, the share of tokens predicted correctly, given those before them.
        gradient: By point, the norm of the gradient over all parameters.
        saturated: Share of queries whose softmax has a Jacobian of norm below 0.001.
        entropy: Mean entropy of each head, in nats.
        query: Norm of the gradient for W^Q.
        key: Norm of the gradient for W^K.
        translations: By point, the translations of the sentences.
    """

    title: Short
    changes: Changes
    heads: Count
    d_k: Count
    training: Annotated[list[tuple[Step, Loss]], Field(max_length=1000)]
    validation: Annotated[list[tuple[Step, Loss, Loss | None]], Field(max_length=200)]
    final: Final
    steps: Annotated[list[Step], Field(min_length=2, max_length=200)]
    accuracy: list[Share]
    gradient: list[Loss]
    saturated: SharesByPoint
    entropy: HeadsByPoint
    query: LayersByPoint
    key: LayersByPoint
    translations: list[list[Text]]

    @model_validator(mode="after")
    def _check_lengths(self) -> Run:
        by_point: list[list[Any]] = [self.accuracy, self.gradient, self.translations]
        for table in (self.saturated, self.entropy, self.query, self.key):
            by_point += [table.encoder, table.decoder, table.cross]
        if {len(values) for values in by_point} != {len(self.steps)}:
            raise ValueError("lists have different lengths")
        if sorted(set(self.steps)) != self.steps:
            raise ValueError("steps are not in ascending order")
        for heads in (self.entropy.encoder, self.entropy.decoder, self.entropy.cross):
            if any(len(layer) != self.heads for layers in heads for layer in layers):
                raise ValueError("entropy has another number of heads")
        if len({tuple(map(len, table)) for table in (self.entropy.decoder, self.entropy.cross)}) != 1:
            raise ValueError("entropy has another number of layers")
        return self


class Model(_Strict):
    """Sizes of a model."""

    layers: tuple[Count, Count]
    d_model: Count
    d_ff: Count
    parameters: Count
    vocabulary: Count


class Ablations(_Strict):
    """The object described at the top of this module."""

    format: Literal[1]
    date: Short
    machine: Short
    languages: tuple[Short, Short]
    files: Annotated[list[Short], Field(max_length=10)]
    pairs: Count
    model: Model
    steps: Count
    batch_tokens: Count
    seed: int
    signature: Short
    bleu_sentences: Annotated[int, Field(ge=0)]
    measured_pairs: Count
    sentences: Annotated[list[tuple[Text, Text]], Field(max_length=20)]
    uniform: Kinds
    runs: Annotated[dict[Short, Run], Field(min_length=1, max_length=40)]

    @model_validator(mode="after")
    def _check_sentences(self) -> Ablations:
        for name, run in self.runs.items():
            if any(len(point) != len(self.sentences) for point in run.translations):
                raise ValueError(f"{name}: not one translation per sentence")
        return self


def load_twins(folder: Path | None = None) -> dict[str, Any]:
    """Read ablations for a page.

    Args:
        folder: Folder of the results of `allyouneed paper questions`; None for the set that the package contains.

    Returns:
        The object described at the top of this module, with exactly these entries.

    Raises:
        UserError: If the file is missing, larger than 1 MB, or has other content.
    """
    return _shipped() if folder is None else _read(folder / FILE)


def check_ablations(text: bytes | str, where: Path) -> dict[str, Any]:
    """Read the text of a file of ablations.

    Args:
        text: The JSON text.
        where: Path of the file, for error messages.

    Returns:
        The object, with exactly the entries described at the top of this module.

    Raises:
        UserError: If the text is not such an object.
    """
    try:
        return Ablations.model_validate_json(text).model_dump(mode="json")
    except ValidationError as error:
        raise UserError(
            f"{where}: not the ablations of `allyouneed paper questions` ({mistake(error)}). {_REMEDY}"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return check_ablations(read_regular(path, MAX_BYTES), path)
    except OSError as error:
        raise cannot_read(path, error, _REMEDY) from error


@cache
def _shipped() -> dict[str, Any]:
    path = files(__package__).joinpath(FILE)
    return check_ablations(path.read_bytes(), Path(str(path)))
