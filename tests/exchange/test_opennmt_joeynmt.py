"""Models of OpenNMT-py, Eole and Joey NMT, built here in their formats, against a computation from their tensors."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from allyouneed import UserError
from allyouneed.bundle import load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.exchange.eole.importer import read_eole
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.joeynmt.importer import read_joeynmt
from allyouneed.exchange.opennmt_py import read_opennmt_py
from allyouneed.exchange.reading.stored_weights import StoredWeights

D, FF, HEADS = 8, 12, 2
WORDS = list("abcdefgh")
TOKENS = {
    "opennmt": ["<unk>", "<blank>", "<s>", "</s>", *WORDS],
    "eole": ["<unk>", "<blank>", "<s>", "</s>", *WORDS],
    "joeynmt": ["<unk>", "<pad>", "<s>", "</s>", *WORDS],
}
ONMT = ("linear_query", "linear_keys", "linear_values", "final_linear")
NAMES = {  # stack: layer, attentions, norms, feed-forward, final norm
    "opennmt": {
        "encoder": ("encoder.transformer.0.", ["self_attn"], ["layer_norm", "feed_forward.layer_norm"]),
        "decoder": (
            "decoder.transformer_layers.0.",
            ["self_attn", "context_attn"],
            ["layer_norm_1", "layer_norm_2", "feed_forward.layer_norm"],
        ),
        "linears": ONMT,
        "ff": ("feed_forward.w_1", "feed_forward.w_2"),
    },
    "eole": {
        "encoder": ("encoder.transformer_layers.0.", ["self_attn"], ["input_layernorm", "post_attention_layernorm"]),
        "decoder": (
            "decoder.transformer_layers.0.",
            ["self_attn", "context_attn"],
            ["input_layernorm", "precontext_layernorm", "post_attention_layernorm"],
        ),
        "linears": ONMT,
        "ff": ("mlp.gate_up_proj", "mlp.down_proj"),
    },
    "joeynmt": {
        "encoder": ("encoder.layers.0.", ["src_src_att"], ["layer_norm", "feed_forward.layer_norm"]),
        "decoder": (
            "decoder.layers.0.",
            ["trg_trg_att", "src_trg_att"],
            ["x_layer_norm", "dec_layer_norm", "feed_forward.layer_norm"],
        ),
        "linears": ("q_layer", "k_layer", "v_layer", "output_layer"),
        "ff": ("feed_forward.pwff_layer.0", "feed_forward.pwff_layer.3"),
    },
}
EMBEDDINGS = {
    "opennmt": (
        "encoder.embeddings.make_embedding.emb_luts.0.weight",
        "decoder.embeddings.make_embedding.emb_luts.0.weight",
    ),
    "eole": ("src_emb.embeddings.weight", "tgt_emb.embeddings.weight"),
    "joeynmt": ("src_embed.lut.weight", "trg_embed.lut.weight"),
}
TABLES = {
    "opennmt": ("encoder.embeddings.make_embedding.pe.pe", "decoder.embeddings.make_embedding.pe.pe"),
    "eole": ("src_emb.pe.pe", "tgt_emb.pe.pe"),
    "joeynmt": ("encoder.pe.pe", "decoder.pe.pe"),
}
OUTPUT = {"opennmt": "generator.weight", "eole": "generator.weight", "joeynmt": "decoder.output_layer.weight"}


def table(concat: bool = False) -> torch.Tensor:
    """Position encodings as these systems compute them, in fp32, shape [100, D]."""
    position = torch.arange(100.0)[:, None]
    if concat:
        step = torch.exp(torch.arange(D // 2, dtype=torch.float) * -(math.log(10000) / (D // 2 - 1)))
        return torch.cat([torch.sin(position * step), torch.cos(position * step)], dim=1)
    angle = position * torch.exp(torch.arange(0, D, 2, dtype=torch.float) * -(math.log(10000.0) / D))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def tensors_of(system: str, bias: bool = True, concat: bool = False, final: bool = True) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    vocab, names = len(TOKENS[system]), NAMES[system]

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.5

    tensors = {name: random(vocab, D) for name in (*EMBEDDINGS[system], OUTPUT[system])}
    tensors |= {name: table(concat)[:, None] for name in TABLES[system]}
    for side in ("encoder", "decoder"):
        layer, attentions, norms = names[side]
        shapes = {f"{a}.{linear}": (D, D) for a in attentions for linear in names["linears"]}
        shapes |= {names["ff"][0]: (FF, D), names["ff"][1]: (D, FF)}
        for name, shape in shapes.items():
            tensors[f"{layer}{name}.weight"] = random(*shape)
            if bias:
                tensors[f"{layer}{name}.bias"] = random(shape[0])
        finals = [f"{side}.layer_norm"] if final else []
        for name in (*(layer + norm for norm in norms), *finals):
            tensors |= {f"{name}.weight": 1 + random(D), f"{name}.bias": random(D)}
    return tensors


def reference(system: str, tensors: dict, ids: list[int], target: list[int], **rules) -> torch.Tensor:
    """Compute logits from the tensors of a file: ids in the file's order, the target with its start token."""
    names, pre, alpha = NAMES[system], rules.get("pre", True), rules.get("alpha", 1.0)

    def linear(x, name):
        return F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, (D,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], rules["epsilon"])

    def attend(x, memory, name, causal):
        query, key, value = (
            linear(y, f"{name}.{part}").view(len(y), HEADS, -1).transpose(0, 1)
            for y, part in zip((x, memory, memory), names["linears"], strict=False)
        )
        scores = query @ key.transpose(1, 2) / math.sqrt(D / HEADS)
        if causal:
            scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -math.inf)
        return linear((scores.softmax(-1) @ value).transpose(0, 1).flatten(1), f"{name}.{names['linears'][3]}")

    def stack(x, side, memory=None):
        layer, attentions, norms = names[side]
        steps = [
            lambda y, a=a: attend(
                y, y if a == attentions[0] else memory, layer + a, side == "decoder" and a == attentions[0]
            )
            for a in attentions
        ]
        inner, outer = (layer + name for name in names["ff"])
        steps.append(lambda y: linear(rules["activation"](linear(y, inner)), outer))
        for step, name in zip(steps, norms, strict=True):
            x = step(norm(x, layer + name)) + alpha * x if pre else norm(step(x) + alpha * x, layer + name)
        return norm(x, f"{side}.layer_norm") if f"{side}.layer_norm.weight" in tensors else x

    def embed(rows, side, factor):
        x = tensors[EMBEDDINGS[system][side]][rows] * factor
        return x + tensors[TABLES[system][side]].flatten(0, -2)[: len(rows)]

    factors = rules.get("factors", (math.sqrt(D), math.sqrt(D)))
    memory = stack(embed(ids, 0, factors[0]), "encoder")
    hidden = stack(embed(target, 1, factors[1]), "decoder", memory)
    return linear(hidden, OUTPUT[system].removesuffix(".weight"))


def check(system: str, tensors: dict, run, end: bool, **rules) -> None:
    bundle = load_bundle(run)
    tokens = TOKENS[system]
    row = {name: number for number, name in enumerate(tokens)}
    source, target = ["c", "a", "h", "h", "b"], ["b", "f", "a"]
    ids = bundle.tokenizer.encode(" ".join(source))
    assert bundle.tokenizer.pieces(ids) == [f"▁{name}" for name in source]
    with torch.inference_mode():
        ours = bundle.model.eval()(
            torch.tensor([[*ids, EOS]]), torch.tensor([[BOS, *bundle.tokenizer.target.encode(" ".join(target))]])
        )[0]
    theirs = reference(
        system,
        tensors,
        [row[name] for name in [*source, *(["</s>"] if end else [])]],
        [row[name] for name in ["<s>", *target]],
        **rules,
    )
    columns = [row[name] for name in bundle.tokenizer.target.vocabulary.names]
    torch.testing.assert_close(ours, theirs[:, columns], atol=1e-4, rtol=0)


def write_opennmt(path, tensors: dict, **options) -> None:
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith("generator")}
    opt = {"encoder_type": "transformer", "decoder_type": "transformer", "heads": HEADS, "position_encoding": True}
    opt |= {"pos_ffn_activation_fn": "relu", "_all_transform": {"filtertoolong"}, **options}
    vocab = {"src": TOKENS["opennmt"], "tgt": TOKENS["opennmt"], "data_task": "seq2seq", "decoder_start_token": "<s>"}
    generator = {name.removeprefix("generator."): t for name, t in tensors.items() if name.startswith("generator")}
    torch.save(
        {"model": model, "generator": generator, "vocab": vocab, "opt": argparse.Namespace(**opt), "optim": {}}, path
    )


@pytest.mark.parametrize(("bias", "concat", "activation"), [(False, False, "relu"), (True, True, "gelu")])
def test_opennmt_py(bias, concat, activation, tmp_path):
    tensors = tensors_of("opennmt", bias, concat)
    write_opennmt(tmp_path / "model.pt", tensors, pos_ffn_activation_fn=activation, norm_eps=1e-6)
    import_bundle("opennmt-py", [tmp_path / "model.pt"], tmp_path / "run", "de", "en")
    check("opennmt", tensors, tmp_path / "run", end=False, epsilon=1e-6, activation=getattr(F, activation))


@pytest.mark.parametrize(("bias", "activation"), [(True, "relu"), (False, "silu")])
def test_eole(bias, activation, tmp_path):
    tensors, folder = tensors_of("eole", bias), tmp_path / "eole"
    write_eole(folder, tensors, mlp_activation_fn=activation)
    import_bundle("eole", [folder], tmp_path / "run", "de", "en")
    check("eole", tensors, tmp_path / "run", end=False, epsilon=1e-5, activation=getattr(F, activation))


def write_eole(folder, tensors: dict, **settings) -> None:
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.00.safetensors")
    stack = {"heads": HEADS, "hidden_size": D, **settings}
    model = {
        "architecture": "transformer",
        "encoder": {"encoder_type": "transformer", **stack},
        "decoder": {"decoder_type": "transformer", "with_cross_attn": True, **stack},
        "embeddings": {"position_encoding_type": "SinusoidalInterleaved"},
    }
    (folder / "config.json").write_text(json.dumps({"model": model, "transforms": ["filtertoolong"]}))
    vocabulary = {"src": TOKENS["eole"], "tgt": TOKENS["eole"], "decoder_start_token": "<s>"}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


def write_joeynmt(folder, tensors: dict, encoder: str, decoder: str = "", data: str = "") -> None:
    folder.mkdir()
    torch.save({"model_state": tensors, "optimizer_state": {}, "scheduler_state": None}, folder / "best.ckpt")
    for name in ("src_vocab.txt", "trg_vocab.txt"):
        (folder / name).write_text("\n".join(TOKENS["joeynmt"]) + "\n")
    (folder / "config.yaml").write_text(
        f"data:\n  src: {{lang: de, level: word}}\n  trg: {{lang: en, level: word}}\n{data}"
        f"testing: {{beam_size: 3}}\nmodel:\n"
        f"  encoder: {{type: transformer, num_heads: {HEADS}, {encoder}}}\n"
        f"  decoder: {{type: transformer, num_heads: {HEADS}, {decoder or encoder}}}\n"
    )


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_joeynmt(norm, tmp_path):
    pytest.importorskip("yaml", reason="the package pyyaml is not installed")
    tensors = tensors_of("joeynmt", final=norm == "pre")
    alpha, factors = (1.0, (math.sqrt(D), 1.0)) if norm == "pre" else (1.3, (1.0, 1.0))
    side = f"layer_norm: {norm}, activation: gelu, alpha: {alpha}, embeddings: {{scale: "
    encoder, decoder = (f"{side}{factor > 1}}}" for factor in factors)
    write_joeynmt(tmp_path / "joey", tensors, encoder, decoder)
    import_bundle("joeynmt", [tmp_path / "joey"], tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.languages == ("de", "en")
    assert bundle.config.search.beam_size == 3
    rules = {"pre": norm == "pre", "alpha": alpha, "factors": factors}
    check("joeynmt", tensors, tmp_path / "run", end=True, epsilon=1e-6, activation=F.gelu, **rules)


def test_characters_of_joeynmt(tmp_path):
    pytest.importorskip("yaml", reason="the package pyyaml is not installed")
    side, folder = "layer_norm: post, embeddings: {scale: False}", tmp_path / "joey"
    write_joeynmt(folder, tensors_of("joeynmt", final=False), side)
    for name in ("src_vocab.txt", "trg_vocab.txt"):
        (folder / name).write_text("\n".join([*TOKENS["joeynmt"][:-1], "▁"]) + "\n")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("level: word", "level: char, lowercase: True"))
    tokenizer = read_joeynmt([folder]).tokenizer
    ids = tokenizer.encode("Ab c")  # Joey NMT's own tokens of this text
    assert [tokenizer.vocabulary.names[index] for index in ids] == ["a", "b", "▁", "c"]
    assert tokenizer.decode(ids) == "ab c"
    import_bundle("joeynmt", [folder], tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.tokenizer.encode("Ab c") == ids


REFUSED = [{"max_relative_positions": 20}, {"self_attn_type": "average"}, {"copy_attn": True}, {"layer_norm": "rms"}]


@pytest.mark.parametrize("options", REFUSED)
def test_other_architectures_of_opennmt_py_are_refused(options, tmp_path):
    write_opennmt(tmp_path / "model.pt", tensors_of("opennmt"), **options)
    with pytest.raises(UserError, match=f"{next(iter(options))} = "):
        read_opennmt_py([tmp_path / "model.pt"], ("de", "en"))


@pytest.mark.parametrize(
    "name", ["encoder.transformer.0.feed_forward.w_3.weight", "decoder.transformer_layers.0.extra"]
)
def test_a_tensor_that_nothing_uses_is_refused(name, tmp_path):
    write_opennmt(tmp_path / "model.pt", {**tensors_of("opennmt"), name: torch.ones(2)})
    with pytest.raises(UserError, match=r"w_3|extra"):
        read_opennmt_py([tmp_path / "model.pt"], ("de", "en"))


@pytest.mark.parametrize("settings", [{"parallel_residual": True}, {"layer_norm": "rms"}, {"heads_kv": 1}])
def test_other_architectures_of_eole_are_refused(settings, tmp_path):
    write_eole(tmp_path / "eole", tensors_of("eole"), **settings)
    with pytest.raises(UserError, match=f"{next(iter(settings))} = "):
        read_eole([tmp_path / "eole"], ("de", "en"))


@pytest.mark.parametrize(
    ("encoder", "decoder", "data", "message"),
    [
        ("layer_norm: pre", "layer_norm: post", "", "layer_norm is pre in the encoder and post"),
        ("layer_norm: pre, activation: tanh", "", "", "activation = tanh"),
        ("layer_norm: pre, alpha: 1.2", "", "", "alpha = 1.2"),
        ("layer_norm: pre, num_heads: .inf", "", "", "num_heads = .inf"),
        ("layer_norm: pre, num_heads: inf", "", "", "num_heads = inf"),
        ("layer_norm: pre, embeddings: {}", "", "  special_symbols: {lang_tags: [<de>]}\n", "lang_tags"),
    ],
)
def test_other_models_of_joeynmt_are_refused(encoder, decoder, data, message, tmp_path):
    pytest.importorskip("yaml", reason="the package pyyaml is not installed")
    write_joeynmt(tmp_path / "joey", tensors_of("joeynmt"), encoder, decoder, data)
    with pytest.raises(UserError, match=message):
        read_joeynmt([tmp_path / "joey"])


@pytest.mark.parametrize("shape", [(0,), (0, 8), (8,), ()])
def test_embeddings_of_another_shape_are_refused(shape, tmp_path):
    tensors = tensors_of("eole")
    write_eole(tmp_path / "eole", {**tensors, EMBEDDINGS["eole"][1]: torch.ones(shape)})
    with pytest.raises(UserError, match=r"is empty|is a single number|do not fit together|model\.00\.safetensors"):
        read_eole([tmp_path / "eole"], ("de", "en"))


def test_layers_are_counted_once():
    """Of many layers, a search for each would take quadratic time."""
    names = {f"layers.{number}.weight": torch.ones(1) for number in range(100_000)}
    assert StoredWeights(Path("model"), names).count_layers("layers.{}") == 100_000
    assert StoredWeights(Path("model"), names).count_layers("layer.{}") == 0
