"""Import of models of Joey NMT 2: a folder with config.yaml, a checkpoint and the vocabularies.

Layers are pre- or post-norm with ε = 1e-6, and positions the paper's. Each side may or may not scale its embeddings. A
factor `alpha` of post-norm residuals (DeepNet, Wang et al. 2022) is divided out of the sublayers, since a layer norm
does not depend on the scale of its input apart from ε.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.data.tokens.segmenters import SpaceSegmenter
from allyouneed.errors import UserError
from allyouneed.exchange.joeynmt.settings import CONFIG, JoeyConfig
from allyouneed.exchange.reading.imported_bundle import make_bundle
from allyouneed.exchange.reading.imported_vocabulary import order_vocabulary
from allyouneed.exchange.reading.named_layers import Embedded, StackNames, attention_names, convert, read_stack
from allyouneed.exchange.reading.pickles import read_checkpoint, read_weights
from allyouneed.exchange.reading.segmentation import make_tokenizer
from allyouneed.exchange.reading.stored_weights import StoredWeights, shapes_checked
from allyouneed.untrusted import cannot_read, read_regular

_LINEARS = ("q_layer", "k_layer", "v_layer", "output_layer")
_FEED_FORWARD = {"feed_forward.inner": "feed_forward.pwff_layer.0", "feed_forward.outer": "feed_forward.pwff_layer.3"}
_ENCODER = StackNames(
    "encoder.layers.{}",
    {
        **attention_names("self_attention", "src_src_att", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "layer_norm",
        "residuals.1.norm": "feed_forward.layer_norm",
    },
    "encoder.layer_norm",
)
_DECODER = StackNames(
    "decoder.layers.{}",
    {
        **attention_names("self_attention", "trg_trg_att", _LINEARS),
        **attention_names("cross_attention", "src_trg_att", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "x_layer_norm",
        "residuals.1.norm": "dec_layer_norm",
        "residuals.2.norm": "feed_forward.layer_norm",
    },
    "decoder.layer_norm",
)
_SYMBOLS = ("unk_token", "pad_token", "bos_token", "eos_token")  # in Joey NMT's order
_SPECIAL = ("pad_token", "unk_token", "bos_token", "eos_token")
_STAND_INS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
_LARGEST_VOCABULARY = 1 << 25  # bytes


def read_joeynmt(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a model of Joey NMT.

    Args:
        paths: The folder, whose best or latest checkpoint is read, or a checkpoint in it.
        languages: Codes of source and target; None reads them from config.yaml.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model has parts that a `Transformer` does not have.
    """
    if len(paths) != 1:
        raise UserError(
            "import joeynmt takes one folder with config.yaml, or a checkpoint in it: import joeynmt DIR RUN."
        )
    folder = paths[0] if paths[0].is_dir() else paths[0].parent
    path = _find_checkpoint(folder) if paths[0].is_dir() else paths[0]
    config = JoeyConfig.read(folder)
    files = [config.find(side, "voc_file", f"{name}_vocab.txt") for name, side in config.sides.items()]
    symbols = config.symbols()
    vocabularies = [
        order_vocabulary(file, _tokens(file, symbols), [symbols[name] for name in _SPECIAL]) for file in files
    ]
    checkpoint = read_checkpoint(path, _STAND_INS)
    stored = checkpoint.get("model_state") if isinstance(checkpoint, Mapping) else None
    weights = StoredWeights(path, read_weights(path, stored))
    settings, alpha = config.model_settings()
    stacks = read_stack(weights, "encoder", _ENCODER), read_stack(weights, "decoder", _DECODER)
    with shapes_checked(path):
        sides, output = _embeddings(weights, config), _output(weights)
        converted = convert(weights, stacks, sides, output, (vocabularies[0], vocabularies[1]), settings["norm"])
    converted.settings |= settings
    if alpha != 1:
        _divide_outputs(converted.parameters, alpha)
    segmentation, segmenters = config.segmentation(vocabularies)
    tokenizer = make_tokenizer(segmentation, (vocabularies[0], vocabularies[1]))
    used = [path, folder / CONFIG, *files, *segmenters]
    languages = config.languages(languages)
    bundle = make_bundle(path, "Joey NMT", used, converted, tokenizer, languages, config.search_settings())
    if all(side.kind == SpaceSegmenter.kind for side in segmentation):
        bundle.notes["remarks"] = "The model's units are words: text in and out is tokens separated by spaces."
    return bundle


def _find_checkpoint(folder: Path) -> Path:
    """Return the best checkpoint of a folder, as Joey NMT does, or the latest."""
    for name in ("best.ckpt", "latest.ckpt"):
        if (folder / name).is_file():
            return folder / name
    numbered = [path for path in folder.glob("*.ckpt") if path.stem.isdecimal()]
    if not numbered:
        raise UserError(f"{folder}: has no checkpoint (best.ckpt). Give the folder that `joeynmt train` wrote.")
    return max(numbered, key=lambda path: int(path.stem))


def _tokens(path: Path, symbols: Mapping[str, str]) -> list[str]:
    """Read the tokens of a vocabulary; the special symbols come first, whether or not the file has them."""
    try:
        lines = read_regular(path, _LARGEST_VOCABULARY).decode("utf-8").splitlines()
    except OSError as error:
        raise cannot_read(path, error, "Give the model's vocabulary.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text in UTF-8.") from error
    return list(dict.fromkeys([*(symbols[name] for name in _SYMBOLS), *lines]))


def _embeddings(weights: StoredWeights, config: JoeyConfig) -> tuple[Embedded, Embedded]:
    found = []
    for side, name, scaled in zip(("encoder", "decoder"), ("src", "trg"), config.scaled(), strict=True):
        matrix, table = weights.take(f"{name}_embed.lut.weight"), weights.take_if_stored(f"{side}.pe.pe")
        positions = None if table is None else table.flatten(0, -2)
        found.append(Embedded(matrix, positions, math.sqrt(matrix.shape[-1]) if scaled else 1.0))
    return found[0], found[1]


def _output(weights: StoredWeights) -> tuple[Tensor | None, Tensor | None]:
    return weights.take("decoder.output_layer.weight"), None


def _divide_outputs(parameters: dict[str, Tensor], alpha: float) -> None:
    """Divide the output of each sublayer by the factor of its residual."""
    for name in parameters:
        if "attention.output." in name or "feed_forward.outer." in name:
            parameters[name] = parameters[name] / alpha
