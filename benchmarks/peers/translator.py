"""A peer that translates with our weights: `python translator.py PEER WEIGHTS.pt`.

Reads one request per line from standard input, `{"beam": 4, "sentences": [[ids]]}`, with ids including the end token,
and answers `{"translations": [[ids]], "peak": MiB}`. One thread; batches of 64 sentences of similar length. WEIGHTS.pt
contains names and tensors as in a bundle, and the bundle's `model` settings. Each peer computes the same model: its
table of positions is overwritten, missing biases are zero, and the ids of special tokens are mapped to its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3
_BATCH, _EXTRA, _POSITIONS = 64, 50, 1024
Search = Callable[[Tensor, int], list[list[int]]]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep output of the peer out of the answers
    torch.set_num_threads(1)
    peer, path = sys.argv[1:]
    stored = torch.load(path, weights_only=True)
    with torch.inference_mode():
        search = PEERS[peer](stored["config"], stored["weights"])
        for line in sys.stdin:
            request = json.loads(line)
            search_beam = partial(search, beam=request["beam"])
            translations = _in_batches(request["sentences"], search_beam)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"translations": translations, "peak": peak}), file=answers, flush=True)


def _in_batches(sentences: list[list[int]], search: Callable[[Tensor], list[list[int]]]) -> list[list[int]]:
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    translations: list[list[int]] = [[] for _ in sentences]
    for start in range(0, len(order), _BATCH):
        numbers = order[start : start + _BATCH]
        max_length = len(sentences[numbers[0]])
        source = torch.tensor([sentences[i] + [PAD] * (max_length - len(sentences[i])) for i in numbers])
        for i, ids in zip(numbers, search(source), strict=True):
            translations[i] = ids[: ids.index(EOS)] if EOS in ids else ids
    return translations


def _transformers(config: dict, weights: dict[str, Tensor]) -> Search:
    """Use M2M100, which is pre-norm like our recipes; Marian is post-norm."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    if config["norm"] != "pre":
        raise SystemExit("transformers: only pre-norm models are supported here")
    sides = {
        f"{side}_{name}": config[ours]
        for side in ("encoder", "decoder")
        for name, ours in (("layers", f"{side}_layers"), ("ffn_dim", "d_ff"), ("attention_heads", "num_heads"))
    }
    rows = weights["source_embedding.tokens.weight"]
    ids = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "decoder_start_token_id": BOS}
    settings = M2M100Config(
        vocab_size=len(rows), d_model=config["d_model"], activation_function="relu", scale_embedding=True,
        max_position_embeddings=_POSITIONS, **sides, **ids,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(settings).eval()
    tensors = {f"model.{name}": tensor for name, tensor in _fairseq_names(config, weights).items()}
    _load(model, {**tensors, "model.shared.weight": rows, "lm_head.weight": rows}, "embed_tokens")
    for part in (model.model.encoder, model.model.decoder):
        part.embed_positions.weights[PAD + 1 : PAD + 1 + _POSITIONS] = sinusoids(_POSITIONS, config["d_model"])
    options = {"do_sample": False, "length_penalty": 0.0, "suppress_tokens": [PAD, UNK, BOS]}

    def search(source: Tensor, beam: int) -> list[list[int]]:
        max_length = source.shape[1] + _EXTRA
        outputs = model.generate(
            source, attention_mask=(source != PAD).long(), num_beams=beam, max_new_tokens=max_length, **options
        )
        return [ids[1:] for ids in outputs.tolist()]

    return search


def _fairseq(config: dict, weights: dict[str, Tensor]) -> Search:
    from fairseq.data import Dictionary
    from fairseq.models.transformer import TransformerModel
    from fairseq.models.transformer.transformer_legacy import base_architecture
    from fairseq.sequence_generator import SequenceGenerator

    rows, theirs = weights["source_embedding.tokens.weight"], [BOS, PAD, EOS, UNK]  # in the order of its dictionary
    dictionary = Dictionary()
    for i in range(len(theirs), len(rows)):
        dictionary.add_symbol(f"w{i}")
    args = SimpleNamespace(share_all_embeddings=True, max_source_positions=_POSITIONS, max_target_positions=_POSITIONS)
    for side in ("encoder", "decoder"):
        for name, value in (("embed_dim", "d_model"), ("ffn_embed_dim", "d_ff"), ("attention_heads", "num_heads")):
            setattr(args, f"{side}_{name}", config[value])
        setattr(args, f"{side}_layers", config[f"{side}_layers"])
        setattr(args, f"{side}_normalize_before", config["norm"] == "pre")
    base_architecture(args)
    model = TransformerModel.build_model(
        args, SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    ).eval()
    to_ours = torch.arange(len(rows))
    to_ours[: len(theirs)] = torch.tensor(theirs)
    to_theirs = to_ours.argsort()
    shared = dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"),
        rows[to_ours],
    )
    version = {
        f"{side}.version": torch.tensor([3.0]) for side in ("encoder", "decoder")
    }  # without it, the final norm is omitted
    _load(model, {**_fairseq_names(config, weights), **shared, **version}, "version")
    for part in (model.encoder, model.decoder):
        first, table = dictionary.pad() + 1, part.embed_positions.weights
        table[first:] = sinusoids(len(table) - first, config["d_model"])
    generators = {}

    def search(source: Tensor, beam: int) -> list[list[int]]:
        if beam not in generators:
            generators[beam] = SequenceGenerator(
                [model], dictionary, beam, max_len_a=1, max_len_b=_EXTRA, len_penalty=0.0, unk_penalty=torch.inf,
                tokens_to_suppress=("<s>",),
            )  # fmt: skip
        lengths = (source != PAD).sum(dim=1)
        sample = {"net_input": {"src_tokens": to_theirs[source], "src_lengths": lengths}}
        outputs = generators[beam].generate([model], sample, bos_token=dictionary.bos())
        return [to_ours[hypotheses[0]["tokens"]].tolist() for hypotheses in outputs]

    return search


def _joeynmt(config: dict, weights: dict[str, Tensor]) -> Search:
    from joeynmt.batch import Batch
    from joeynmt.model import build_model
    from joeynmt.search import search as joey_search
    from joeynmt.vocabulary import Vocabulary

    rows, theirs = weights["source_embedding.tokens.weight"], [UNK, PAD, BOS, EOS]  # in the order of its vocabulary
    names = {name: f"<{name}>" for name in ("unk", "pad", "bos", "eos")}
    special = {f"{name}_token": token for name, token in names.items()} | {f"{n}_id": i for i, n in enumerate(names)}
    vocabulary = Vocabulary(
        [f"w{i}" for i in range(len(theirs), len(rows))], SimpleNamespace(**special, sep_token=None, lang_tags=[])
    )
    sides = {
        side: {
            "type": "transformer", "num_layers": config[f"{side}_layers"], "num_heads": config["num_heads"],
            "hidden_size": config["d_model"], "ff_size": config["d_ff"], "dropout": 0.0, "layer_norm": config["norm"],
            "activation": "relu", "embeddings": {"embedding_dim": config["d_model"], "scale": True, "dropout": 0.0},
        }
        for side in ("encoder", "decoder")
    }  # fmt: skip
    model = build_model({**sides, "tied_embeddings": True, "tied_softmax": True}, vocabulary, vocabulary).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5  # as in our layer norm
    to_ours = torch.arange(len(rows))
    to_ours[: len(theirs)] = torch.tensor(theirs)
    to_theirs = to_ours.argsort()
    shared = dict.fromkeys(
        ("src_embed.lut.weight", "trg_embed.lut.weight", "decoder.output_layer.weight"), rows[to_ours]
    )
    _load(model, {**_joey_names(config, weights), **shared}, ".pe")

    def search(source: Tensor, beam: int) -> list[list[int]]:
        lengths = (source != PAD).sum(dim=1)
        indices = torch.arange(len(source))
        given = to_theirs[source]
        batch = Batch(
            given,
            lengths,
            None,
            None,
            None,
            indices,
            given.device,
            vocabulary.pad_index,
            vocabulary.eos_index,
            is_train=False,
        )
        max_length = source.shape[1] + _EXTRA
        outputs, *_ = joey_search(model, batch, max_length, beam, -1, generate_unk=False)
        return to_ours[torch.as_tensor(outputs)].tolist()

    return search


PEERS = {"transformers": _transformers, "fairseq": _fairseq, "joeynmt": _joeynmt}


def sinusoids(length: int, d_model: int) -> Tensor:
    """Compute the paper's interleaved sinusoids, shape [length, d_model]."""
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (
        torch.arange(0, d_model, 2, dtype=torch.float64) / d_model
    )
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def _fairseq_names(config: dict, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors as fairseq and transformers do, without embeddings."""
    attention = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    parts = {
        "self_attention": ("self_attn", attention),
        "cross_attention": ("encoder_attn", attention),
        "feed_forward": ("", {"inner": "fc1", "outer": "fc2"}),
    }
    norms = {
        "encoder": ["self_attn_layer_norm", "final_layer_norm"],
        "decoder": ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"],
    }
    return _renamed(config, weights, parts, norms)


def _joey_names(config: dict, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    attention = {name: f"{name[0]}_layer" for name in ("query", "key", "value")} | {"output": "output_layer"}
    parts = {
        "self_attention": ({"encoder": "src_src_att", "decoder": "trg_trg_att"}, attention),
        "cross_attention": ("src_trg_att", attention),
        "feed_forward": ("feed_forward.pwff_layer", {"inner": "0", "outer": "3"}),
    }
    norms = {
        "encoder": ["layer_norm", "feed_forward.layer_norm"],
        "decoder": ["x_layer_norm", "dec_layer_norm", "feed_forward.layer_norm"],
    }
    return _renamed(config, weights, parts, norms)


def _renamed(config: dict, weights: dict[str, Tensor], parts: dict, norms: dict[str, list[str]]) -> dict[str, Tensor]:
    renamed = {}
    for side in ("encoder", "decoder"):
        if config["norm"] == "pre":
            for end in ("weight", "bias"):
                renamed[f"{side}.layer_norm.{end}"] = weights[f"{side}.norm.{end}"]
        for layer in range(config[f"{side}_layers"]):
            ours = theirs = f"{side}.layers.{layer}"
            for index, norm in enumerate(norms[side]):
                for end in ("weight", "bias"):
                    renamed[f"{theirs}.{norm}.{end}"] = weights[f"{ours}.residuals.{index}.norm.{end}"]
            for part, (name, linears) in parts.items():
                if side == "encoder" and part == "cross_attention":
                    continue
                name = name[side] if isinstance(name, dict) else name
                for linear, other in linears.items():
                    weight = weights[f"{ours}.{part}.{linear}.weight"]
                    bias = weights.get(f"{ours}.{part}.{linear}.bias", torch.zeros(len(weight)))
                    prefix = ".".join(part for part in (theirs, name, other) if part)
                    renamed[f"{prefix}.weight"], renamed[f"{prefix}.bias"] = weight, bias
    return renamed


def _load(model: torch.nn.Module, tensors: dict[str, Tensor], optional: str) -> None:
    """Load all tensors; only parameters whose names contain `optional` may be missing."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if optional not in name]
    if missing or unexpected:
        raise SystemExit(f"missing {missing[:3]}, unexpected {unexpected[:3]}")


if __name__ == "__main__":
    main()
