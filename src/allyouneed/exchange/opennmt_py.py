"""Import of checkpoints of OpenNMT-py 1 to 3.

A checkpoint has the tensors (of version 3 possibly in safetensors files beside it), the vocabularies (before version 3
as objects of torchtext) and the options of training. Its models are pre-norm, their position encodings are stored as a
table, and the source has no end token. Subword models are files of their own; the options name the transforms of the
training text, see `reading/transforms.py`.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_bundle import check_settings, make_bundle
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary, order_vocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.named_layers import Embedded, StackNames, attention_names, convert, read_stack
from allyouneed.exchange.reading.pickles import StandIn, read_checkpoint, read_weights
from allyouneed.exchange.reading.segmentation import describe_segmenters, make_tokenizer
from allyouneed.exchange.reading.stored_weights import StoredWeights, shapes_checked
from allyouneed.exchange.reading.transforms import read_transforms
from allyouneed.files import read_tensors

_PAIR = 2
_STAND_INS = ("argparse.Namespace", "builtins.set", "functools.partial", "torchtext.*", "onmt.*")
_LINEARS = ("linear_query", "linear_keys", "linear_values", "final_linear")
_FEED_FORWARD = {"feed_forward.inner": "feed_forward.w_1", "feed_forward.outer": "feed_forward.w_2"}
_ENCODER = StackNames(
    "encoder.transformer.{}",
    {
        **attention_names("self_attention", "self_attn", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "layer_norm",
        "residuals.1.norm": "feed_forward.layer_norm",
    },
    "encoder.layer_norm",
)
_DECODER = StackNames(
    "decoder.transformer_layers.{}",
    {
        **attention_names("self_attention", "self_attn", _LINEARS),
        **attention_names("cross_attention", "context_attn", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "layer_norm_1",
        "residuals.1.norm": "layer_norm_2",
        "residuals.2.norm": "feed_forward.layer_norm",
    },
    "decoder.layer_norm",
)
_RENAMED = {".a_2": ".weight", ".b_2": ".bias", "generator.0.": "generator."}  # of versions 0 and 1
_MASK = re.compile(r"decoder\.transformer_layers\.\d+\.mask")  # of later tokens, which version 0 stores
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "swish"}
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "encoder_type": ("transformer",),
    "decoder_type": ("transformer",),
    "model_task": ("seq2seq",),
    "data_task": ("seq2seq",),
    "model_type": ("text",),
    "self_attn_type": ("scaled-dot", "scaled-dot-flash"),
    "max_relative_positions": (0,),
    "relative_positions_buckets": (0,),
    "position_encoding": (True,),
    "pos_ffn_activation_fn": tuple(_ACTIVATIONS),
    "layer_norm": ("standard",),
    "generator_function": ("softmax", "log_softmax"),
    "multiquery": (False,),
    "parallel_residual": (False,),
    "copy_attn": (False,),
    "num_experts": (0,),
    "sliding_window": (0,),
    "n_src_feats": (0,),
    "src_prefix": ("", None),
    "tgt_prefix": ("", None),
    "src_suffix": ("", None),
    "tgt_suffix": ("", None),
}


def read_opennmt_py(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a checkpoint of OpenNMT-py.

    Args:
        paths: The checkpoint, and optionally a SentencePiece model or subword-nmt codes, for both sides or for each.
        languages: Codes of source and target.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model has parts that a `Transformer` does not have.
    """
    path, *segmenters = paths
    if path.is_dir() or len(segmenters) > 2:
        raise UserError(
            "import opennmt-py takes a checkpoint, then optionally the subword model of both sides, or of each: "
            "import opennmt-py model.pt SOURCE.model TARGET.model RUN."
        )
    languages = model_languages(languages, None, None, path)
    checkpoint = read_checkpoint(path, _STAND_INS)
    if not isinstance(checkpoint, Mapping) or not {"vocab", "opt"} <= checkpoint.keys():
        raise UserError(f"{path}: not a checkpoint of OpenNMT-py: it has no vocab or no opt.")
    options = checkpoint["opt"].attributes if isinstance(checkpoint["opt"], StandIn) else {}
    check_settings(path, options, _SUPPORTED)
    heads = options.get("heads", 8)
    if options.get("num_kv", 0) not in (0, heads):
        raise UserError(f"{path}: num_kv = {options['num_kv']}: keys shared by several heads are not supported.")
    vocabularies = _read_vocabularies(path, checkpoint["vocab"])
    tensors, files = _tensors(path, checkpoint)
    weights = StoredWeights(path, tensors)
    if "encoder.transformer.0.feed_forward.w_3.weight" in weights:
        raise UserError(f"{path}: gated feed-forward networks (w_3) are not supported. The model cannot be imported.")
    with shapes_checked(path):
        converted = convert(weights, *_parts(weights), vocabularies, "pre")
    converted.settings |= {
        "num_heads": heads,
        "norm_epsilon": options.get("norm_eps", 1e-6),
        "source_end": False,
        "activation": _ACTIVATIONS[options.get("pos_ffn_activation_fn", "relu")],
    }
    transforms = read_transforms(path, options, options)
    sides = transforms.read(segmenters)
    tokenizer = make_tokenizer(sides, vocabularies)
    bundle = make_bundle(path, "OpenNMT-py", [*files, *segmenters], converted, tokenizer, languages)
    bundle.notes["remarks"] = " ".join(filter(None, (describe_segmenters(sides), transforms.missing(segmenters))))
    return bundle


def _tensors(path: Path, checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[Path]]:
    """Return the tensors under the names of version 3, and the files that they come from."""
    if checkpoint.get("model") is None:
        shards = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*.safetensors"))
        if not shards:
            raise UserError(f"{path}: has no weights; {path.stem}.00.safetensors, which has them, is not beside it.")
        stored = {name: tensor for shard in shards for name, tensor in read_tensors(shard).items()}
        return stored, [path, *shards]
    stored = read_weights(path, checkpoint["model"])
    if checkpoint.get("generator"):
        generator = read_weights(path, checkpoint["generator"])
        stored |= {f"generator.{name}": tensor for name, tensor in generator.items()}
    stored = {name: tensor for name, tensor in stored.items() if not _MASK.fullmatch(name)}
    for old, new in _RENAMED.items():
        stored = {name.replace(old, new) if old in name else name: tensor for name, tensor in stored.items()}
    return stored, [path]


def _parts(weights: StoredWeights) -> tuple[Any, Any, Any]:
    """Read both stacks, the embeddings of both sides, and the output projection."""
    stacks = read_stack(weights, "encoder", _ENCODER), read_stack(weights, "decoder", _DECODER)
    sides = []
    for side in ("encoder", "decoder"):
        prefix = f"{side}.embeddings.make_embedding"
        matrix = weights.take(f"{prefix}.emb_luts.0.weight")
        sides.append(Embedded(matrix, weights.take(f"{prefix}.pe.pe").flatten(1), math.sqrt(matrix.shape[-1])))
    output = weights.take("generator.weight"), weights.take_if_stored("generator.bias")
    return stacks, (sides[0], sides[1]), output


def _read_vocabularies(path: Path, stored: Any) -> tuple[ImportedVocabulary, ImportedVocabulary]:
    """Read vocabularies of version 3 (lists), 1 and 2 (fields of torchtext) or 0 (pairs of a name and a vocabulary)."""
    if isinstance(stored, list):
        stored = dict(pair for pair in stored if isinstance(pair, tuple) and len(pair) == _PAIR)
    if not isinstance(stored, Mapping) or not {"src", "tgt"} <= stored.keys() or stored.get("src_feats"):
        raise UserError(f"{path}: its vocab has no src and tgt, or has features of tokens, which are not supported.")
    start = stored.get("decoder_start_token", "<s>")
    lists = [_tokens(path, stored[side]) for side in ("src", "tgt")]
    if start not in lists[1] or "</s>" not in lists[1]:
        raise UserError(f"{path}: the target vocabulary has no start token {start!r} or no end token '</s>'.")
    source, target = (order_vocabulary(path, tokens, ("<blank>", "<unk>", start, "</s>")) for tokens in lists)
    return source, target


def _tokens(path: Path, stored: Any) -> list[Any]:
    if isinstance(stored, StandIn) and "fields" in stored.attributes:
        stored = stored.attributes["fields"]
    if isinstance(stored, list) and stored and isinstance(stored[0], tuple):  # a name and a field for each feature
        if len(stored) != 1:
            raise UserError(f"{path}: features of tokens are not supported. The model cannot be imported.")
        stored = stored[0][1] if len(stored[0]) == _PAIR else None
    if isinstance(stored, StandIn) and stored.attributes.get("lower"):
        raise UserError(f"{path}: its text is converted to lower case, which is not supported.")
    if isinstance(stored, StandIn) and "vocab" in stored.attributes:
        stored = stored.attributes["vocab"]
    if isinstance(stored, StandIn):
        stored = stored.attributes.get("itos")
    if not isinstance(stored, list):
        raise UserError(f"{path}: its vocab has no list of tokens. Get the checkpoint again.")
    return stored
