"""Bundles: weights, settings and tokenizer of a translation model in one verified folder.

A bundle has `model.safetensors`, `config.json`, `tokenizer.model`, `samples.json` (reference outputs), `README.md` (the
model card) and `manifest.json` with their checksums. Instead of `tokenizer.model`, separate vocabularies are in
`source.model` and `target.model`, and those imported from Marian in `source.spm`, `target.spm` and `vocabulary.json`.
`drafts.safetensors` is optional, see `translation/draft_memory.py`.
Loading a bundle never executes code from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from torch import Tensor, nn

from allyouneed.config import Config, ModelConfig, config_from
from allyouneed.data.directions import Direction
from allyouneed.data.tokens.tokenizer import EOS, SEPARATE_FILES
from allyouneed.data.tokens.vocabulary import AnyTokenizer, load_tokenizers
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import check_folder, last_version, read_manifest, read_tensors, tensor_bytes, write_folder
from allyouneed.json_text import to_json
from allyouneed.model.transformer import Transformer
from allyouneed.untrusted import checked, count_elements, read_typed

FORMAT = 3  # format 1 had no samples, and tokenizer.model only; format 3 is for separate vocabularies
_SHARED_FORMAT = 2  # earlier versions can read all other bundles
Build: TypeAlias = Callable[..., Transformer]  # creates a model from settings and vocabulary size
_MAX_NAMES = 3  # maximum number of tensors named in an error message
_FILES = ("model.safetensors", "config.json")
_DRAFTS = "drafts.safetensors"
_SIZE_RATIO, _SMALL = 4, 1_000_000  # of files of weights whose sizes cannot be those of the model
_MILLIONS_FROM = 100_000  # parameters; smaller numbers are written in full
_REMEDY = "Download the bundle again, or run the `allyouneed train` command that created it."


_Code: TypeAlias = Annotated[StrictStr, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Notes(BaseModel):
    """Facts about the training; other names are text for the model card."""

    model_config = ConfigDict(extra="allow")

    training_pairs: StrictInt = Field(default=0, ge=0, alias="training pairs")


class _Facts(BaseModel):
    """Content of `config.json`, which may come from somebody else. Other names, of later versions, are ignored."""

    format: StrictInt
    languages: tuple[_Code, _Code]
    vocab_size: StrictInt = Field(ge=EOS + 1)
    longest_source: StrictInt = Field(ge=1, le=1_000_000)
    scores: dict[str, Any]
    notes: _Notes
    config: dict[str, Any]
    directions: list[tuple[_Code, _Code]] = Field(default=[], max_length=10_000)
    variant: StrictStr = ""
    numbers_share: float | None = Field(default=None, ge=0, le=1)
    entities_share: float | None = Field(default=None, ge=0, le=1)


class _Sample(BaseModel):
    """A reference output of `samples.json`."""

    source: StrictStr
    reference: StrictStr
    said: dict[str, list[StrictStr]]


class _Samples(BaseModel):
    sentences: list[_Sample]


@dataclass
class Bundle:
    """A translation model and everything needed to use it.

    Attributes:
        model: The model.
        tokenizer: Tokenizer for source and target.
        config: Settings of the training run.
        languages: Codes of the source and the target language.
        longest_source: Number of tokens of the longest training source, EOS included.
        scores: Metrics on held-out text, with signatures.
        notes: Facts about the training, for the model card.
        samples: Reference outputs, see `translation/reference_outputs.py`; empty until training has finished.
        directions: Directions of a multilingual model, whose sources begin with the code of the target language
            (`data/directions.py`); empty for a model of one direction.
        numbers_share: Share of validation sources with digits but without letters, such as dates in digits; None if it
            is not known. Such texts are translated only by models that learned it, see `translation/protection`.
        entities_share: Share of validation sources with escaped characters, such as &apos;, likewise.
        drafts: Tables that drafts of translations are made from, see `translation/draft_memory.py`; empty if there are
            none.
    """

    model: Transformer
    tokenizer: AnyTokenizer
    config: Config
    languages: tuple[str, str]
    longest_source: int
    scores: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    directions: tuple[Direction, ...] = ()
    numbers_share: float | None = None
    entities_share: float | None = None
    drafts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the model translates, for example "de → en", or all directions of a multilingual model."""
        return title_of(self.languages, self.directions)

    def described(self) -> str:
        """Describe the model's size, for example "6 + 6 layers, d_model 512, 63.0 million parameters"."""
        model, count = self.config.model, self.model.num_parameters()
        parameters = f"{count / 1e6:.1f} million" if count >= _MILLIONS_FROM else f"{count:,}"
        layers = f"{model.encoder_layers} + {model.decoder_layers} layers"
        return f"{layers}, d_model {model.d_model}, {parameters} parameters"


def title_of(languages: tuple[str, str], directions: Sequence[Direction]) -> str:
    """Name the directions of a model, see `Bundle.title`."""
    return ", ".join(" → ".join(each) for each in directions or (languages,))


def save_bundle(bundle: Bundle, folder: Path, replace: bool = True) -> None:
    """Write a bundle atomically.

    Args:
        bundle: The bundle.
        folder: Its folder.
        replace: Whether an existing bundle is replaced; otherwise only the same bundle may exist.

    Raises:
        UserError: If the folder cannot be written, for example because the disk is full.
    """
    files = bundle.tokenizer.files()
    facts = {
        "format": FORMAT if SEPARATE_FILES[0] in files else _SHARED_FORMAT,
        "languages": list(bundle.languages),
        "vocab_size": len(bundle.tokenizer),
        "longest_source": bundle.longest_source,
        "scores": bundle.scores,
        "notes": bundle.notes,
        "config": bundle.config.model_dump(),
        **({"directions": [list(each) for each in bundle.directions]} if bundle.directions else {}),
        **({"variant": bundle.model.variant} if bundle.model.variant else {}),
        **({"numbers_share": bundle.numbers_share} if bundle.numbers_share is not None else {}),
        **({"entities_share": bundle.entities_share} if bundle.entities_share is not None else {}),
    }
    contents: dict[str, bytes | str] = {
        "model.safetensors": tensor_bytes(weights_of(bundle.model)),
        "config.json": to_json(facts),
        **files,
        "samples.json": to_json({"sentences": bundle.samples}),
        "README.md": _model_card(bundle),
        **({_DRAFTS: tensor_bytes(bundle.drafts)} if bundle.drafts else {}),
    }
    write_folder(folder, contents, replace)


def load_bundle(path: Path, build: Build = Transformer) -> Bundle:
    """Load a bundle to the CPU.

    Args:
        path: A RUN or a bundle.
        build: Creates the model; pass another callable for a model that is not a plain `Transformer`.

    Raises:
        UserError: If there is no bundle, a file is missing, truncated or changed, the format is newer, or the model is
            another variant than `build` creates.
    """
    folder = find_bundle(path)
    check_folder(folder, _FILES, _REMEDY)
    facts = _read_facts(folder)
    config = config_from(facts.config, str(folder / "config.json"))
    tokenizer = load_tokenizers(folder)
    if len(tokenizer) != facts.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, but the model {facts.vocab_size}. {_REMEDY}"
        )
    weights = folder / "model.safetensors"
    check_size(config.model, tokenizer, count_elements(weights), weights)
    model = build_model(config.model, tokenizer, build)
    _check_variant(facts.variant, model.variant, folder)
    load_weights(model, read_tensors(weights), weights)
    positions = config.model.learned_positions
    if positions and facts.longest_source > positions:
        raise UserError(
            f"{folder / 'config.json'}: longest_source = {facts.longest_source}, but the model has {positions} "
            f"positions. {_REMEDY}"
        )
    return Bundle(
        model,
        tokenizer,
        config,
        facts.languages,
        facts.longest_source,
        facts.scores,
        facts.notes.model_dump(by_alias=True, exclude_unset=True),
        _samples(folder / "samples.json"),
        tuple(facts.directions),
        facts.numbers_share,
        facts.entities_share,
        read_tensors(folder / _DRAFTS) if (folder / _DRAFTS).exists() else {},
    )


def _read_facts(folder: Path) -> _Facts:
    """Read `config.json`, whose format decides what it has to contain."""

    path = folder / "config.json"
    content = read_typed(path, dict[str, Any], _REMEDY, any_text=True)  # notes have names of files
    version = content.get("format")
    if type(version) is int and version > FORMAT:
        raise UserError(
            f"{folder}: format {version} is newer than this version supports ({FORMAT}). Upgrade allyouneed."
        )
    return checked(content, _Facts, path, _REMEDY)


def check_size(config: ModelConfig, tokenizer: AnyTokenizer, elements: int, where: Path) -> None:
    """Check, before memory is allocated for a model, that its file of weights is about as large.

    Args:
        config: Settings of the model.
        tokenizer: Tokenizer for source and target.
        elements: Number of elements of all tensors of the file.
        where: The file, for error messages.

    Raises:
        UserError: If the model is several times as large as the file, or the other way round.
    """
    sizes = len(tokenizer), len(tokenizer.target)
    least, most = (config.count_weights(size) for size in (min(sizes), max(sizes)))
    if least > _SIZE_RATIO * elements + _SMALL or elements > _SIZE_RATIO * most + _SMALL:
        raise UserError(f"{where}: has {elements:,} numbers, but its settings are of a model of {most:,}. {_REMEDY}")


def build_model(config: ModelConfig, tokenizer: AnyTokenizer, build: Build = Transformer) -> Transformer:
    """Create a model for the vocabularies of a tokenizer.

    Args:
        config: Settings of the model.
        tokenizer: Tokenizer for source and target.
        build: Creates the model; pass another callable for a model that is not a plain `Transformer`.

    Raises:
        UserError: If the settings require one shared vocabulary and the tokenizer has two.
    """
    source, target = len(tokenizer), len(tokenizer.target)
    if tokenizer.shared:
        return build(config, source)
    if config.tie_embeddings in (True, "inputs"):
        value = str(config.tie_embeddings).lower()
        raise UserError(
            f"model.tie_embeddings = {value} needs a shared vocabulary, but source and target have separate ones of "
            f'{source:,} and {target:,} tokens. Set it to "target" or false.'
        )
    return build(config, source, target_vocab_size=target)


def weights_checksum(folder: Path, remedy: str = "") -> str:
    """Return the SHA-256 of a bundle's weights as its manifest states it; raises errors as `check_folder` does."""
    return read_manifest(folder, remedy).get(_FILES[0], "")


def check_finished(folder: Path, finished: Mapping[str, Any], remedy: str) -> None:
    """Verify the files of a bundle, and that its weights are those of a finished run.

    Raises:
        DamagedFile: If a file is missing or changed, or `finished["model"]` is the checksum of other weights.
    """
    check_folder(folder, (), remedy)
    if finished.get("model", "") not in ("", weights_checksum(folder, remedy)):
        raise DamagedFile(f"{folder}: not the bundle with which the run has finished. {remedy}")


def find_bundle(path: Path) -> Path:
    """Return the folder of the bundle in a RUN or at the path itself.

    If the program was killed while it replaced the bundle, this is the old one, under its temporary name.

    Raises:
        UserError: If the path is neither a RUN with a bundle nor a bundle.
    """
    for folder in map(last_version, (path / "bundle", path)):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise UserError(f"{path}: no such folder. Give a RUN made by `allyouneed train`, or a bundle.")
    if (path / "run.json").is_file():
        raise UserError(f"{path}: this run has no bundle yet. Continue `allyouneed train` until its first validation.")
    raise UserError(f"{path}: neither a RUN nor a bundle. Give a folder made by `allyouneed train`.")


def is_run(path: Path) -> bool:
    """Return whether a folder is a RUN, possibly without a bundle yet, or a bundle; a folder of documents is not."""
    if (path / "bundle" / "config.json").is_file() or (path / "run.json").is_file():
        return True
    return all((path / name).is_file() for name in _FILES)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters by name; a shared parameter occurs once, under its first name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@torch.no_grad()
def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy tensors into the parameters of a model, after `check_weights`."""
    check_weights(model, tensors, where)
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[name])


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Check that tensors are finite and have the names and shapes of a model's parameters.

    Args:
        model: The model.
        tensors: Tensors by parameter name.
        where: Path of the file that the tensors come from, for error messages.

    Raises:
        UserError: If names or shapes differ from the model's, or a number is not finite.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        different = sorted(parameters.keys() ^ tensors.keys())
        named = ", ".join(different[:_MAX_NAMES]) + (", ..." if len(different) > _MAX_NAMES else "")
        raise UserError(f"{where}: does not match its settings: only one of them has {named}.")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise UserError(f"{where}: {name} is {list(tensors[name].shape)}, expected {list(parameter.shape)}.")
        if not _is_finite(tensors[name]):
            raise UserError(f"{where}: {name} has values that are not finite numbers. {_REMEDY}")


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite; their sum, which is usually finite too, is the fastest test."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _check_variant(stored: str, built: str, folder: Path) -> None:
    """Refuse to compute a changed model as the paper's, or the other way round: the weights alone fit both."""
    if stored != built:
        raise UserError(
            f"{folder}: the model was trained as {stored or 'the Transformer'!r} and would be computed as "
            f"{built or 'the Transformer'!r}. Variants of `allyouneed paper questions` are for that command only: give "
            "a RUN made by `allyouneed train`."
        )


def _samples(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return read_typed(path, _Samples, _REMEDY).model_dump()["sentences"]


def _model_card(bundle: Bundle) -> str:
    lines = [
        f"# {bundle.title}",
        "",
        f"A Transformer trained with allyouneed: {bundle.described()}, vocabulary of {len(bundle.tokenizer):,} tokens.",
        "",
        "| fact | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _rows({**bundle.scores, **bundle.notes})),
        "",
        f"To translate with it: `allyouneed translate FOLDER`. Sources of more than {bundle.longest_source} tokens are "
        "divided into several parts.",
    ]
    return "\n".join(lines) + "\n"


def _rows(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested facts to rows of a table, for example ("valid bleu", "37.12")."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name} ")
        else:
            yield prefix + name, f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")
