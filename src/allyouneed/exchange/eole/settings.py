"""Settings of a model of Eole: its config.json, which has only the settings that differ from the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_bundle import check_settings
from allyouneed.exchange.reading.position_tables import Sinusoids
from allyouneed.exchange.reading.segmenter_files import Segmenters
from allyouneed.exchange.reading.transforms import read_transforms, transform_names
from allyouneed.untrusted import checked, read_typed

CONFIG = "config.json"
REMEDY = "Give the folder that `eole train` wrote."
_POSITIONS = 5000  # in Eole's tables of sinusoids
_SINUSOIDS = {"SinusoidalInterleaved": False, "SinusoidalConcat": True}
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu-tanh": "gelu_tanh", "quick_gelu": "gelu_sigmoid", "silu": "swish"}
_OFF = (False, 0, None, 0.0, "", ())
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "architecture": ("transformer", "custom"),
    "encoder_type": ("transformer",),
    "decoder_type": ("transformer",),
    "embedding_type": ("standard",),
    "encoder_layer_style": ("standard",),
    "position_encoding_type": (*_SINUSOIDS, "Learned"),
    "mlp_activation_fn": tuple(_ACTIVATIONS),
    "layer_norm": ("standard", "standardFP32"),
    "generator_function": ("softmax",),
    "LM_type": ("causal",),
}
_SIZES = ("hidden_size", "layers", "word_vec_size", "src_word_vec_size", "tgt_word_vec_size", "transformer_ff", "heads")
_SECTIONS = ("encoder", "decoder", "embeddings")
_NUMBERS = {"heads": (int,), "heads_kv": (int,), "head_dim": (int,), "position_shift": (int,), "norm_eps": (int, float)}
_USED = {
    *(*_SUPPORTED, *_SIZES, "encoder", "decoder", "embeddings", "head_dim", "heads_kv", "norm_eps", "n_positions"),
    *("position_shift", "normalize", "add_qkvbias", "add_key_bias", "add_final_linear_bias", "add_ffnbias"),
    *("generator_bias", "share_embeddings", "share_decoder_embeddings", "with_cross_attn", "final_encoder_layer_norm"),
}
_IRRELEVANT = {  # to translation with a Transformer: dropout, alignment, recurrent networks, origin, unused branches
    *("freeze_word_vecs_enc", "freeze_word_vecs_dec", "position_encoding", "input_feed", "global_attention"),
    *("global_attention_function", "alignment_layer", "alignment_heads", "full_context_alignment", "lambda_align"),
    *("lambda_coverage", "aan_useffn", "max_position_embeddings", "huggingface_model", "eole_version", "adapter_bias"),
    *("projector_activation_fn", "spatial_merge_size", "estimator_type", "num_experts_per_tok", "moe_softmax_after"),
    *("moe_renormalize", "mtp_lambda", "token_type_vocab_size", "rope_config", "linear_conv_kernel_dim"),
    *("linear_key_head_dim", "linear_value_head_dim", "linear_num_key_heads", "linear_num_value_heads", "dim_per_head"),
}


class _Model(BaseModel):
    """Sections of the settings, which have more settings beside them."""

    encoder: dict[str, Any]
    decoder: dict[str, Any]
    embeddings: dict[str, Any] | None = None


class _Content(BaseModel):
    model: _Model


@dataclass
class EoleConfig:
    """The parts of config.json that translation depends on.

    Attributes:
        folder: Folder of the model.
        content: The whole file.
        stacks: Settings of encoder and decoder.
        embeddings: Settings of the embeddings.
    """

    folder: Path
    content: dict[str, Any]
    stacks: tuple[dict[str, Any], dict[str, Any]]
    embeddings: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> EoleConfig:
        """Read the file of a folder.

        Raises:
            UserError: If it is missing or damaged, or has settings that cannot be imported.
        """
        path = folder / CONFIG
        content = read_typed(path, dict[str, Any], REMEDY)
        checked(content, _Content, path, REMEDY)
        model = content["model"]
        whole = {name: value for name, value in model.items() if not isinstance(value, dict)}
        sections = [{**whole, **(model.get(name) or {})} for name in _SECTIONS]
        for section in sections:
            check_settings(path, section, _SUPPORTED)
            for name, types in _NUMBERS.items():
                if section.get(name) is not None and type(section[name]) not in types:
                    raise UserError(f"{path}: {name} = {str(section[name])[:80]} is not a number. {REMEDY}")
            for name, value in section.items():
                if name not in _USED | _IRRELEVANT and (isinstance(value, list | dict) or value not in _OFF) and value:
                    raise UserError(
                        f"{path}: {name} = {str(value)[:80]} is not supported. The model cannot be imported."
                    )
        for stack in sections[:2]:
            if stack.get("heads_kv") not in (None, 0, stack.get("heads", 8)):
                raise UserError(
                    f"{path}: heads_kv = {stack['heads_kv']}: keys shared by several heads are not supported."
                )
        return cls(folder, content, (sections[0], sections[1]), sections[2])

    @property
    def learned_positions(self) -> bool:
        """Whether positions are learned."""
        return self._positions == "Learned"

    @property
    def _positions(self) -> str:
        return str(self.embeddings.get("position_encoding_type", "SinusoidalInterleaved"))

    @property
    def position_shift(self) -> int:
        """First position that the model uses."""
        return max(0, int(self.embeddings.get("position_shift") or 0))

    @property
    def normalize(self) -> bool:
        """Whether the sum of embeddings and learned positions is multiplied by √d_model."""
        return bool(self.embeddings.get("normalize"))

    @property
    def heads(self) -> tuple[int, int]:
        """Heads of encoder and decoder."""
        encoder, decoder = (int(stack.get("heads") or 8) for stack in self.stacks)
        return max(1, encoder), max(1, decoder)

    def sinusoids(self, d_model: int) -> Tensor:
        """Return the table that Eole computes, for models that do not store it, shape [positions, d_model]."""
        halves = _SINUSOIDS[self._positions]
        return Sinusoids("tensor2tensor" if halves else "paper", 0, halves).table(_POSITIONS, d_model)

    def model_settings(self) -> dict[str, Any]:
        """Return settings of the section `model` that tensors do not show.

        Raises:
            UserError: If encoder and decoder differ where a `Transformer` cannot.
        """
        defaults = {"mlp_activation_fn": "relu", "norm_eps": 1e-5}
        for name, usual in defaults.items():
            encoder, decoder = (stack.get(name, usual) for stack in self.stacks)
            if encoder != decoder:
                raise UserError(
                    f"{self.folder / CONFIG}: {name} is {encoder} in the encoder and {decoder} in the decoder. This "
                    "package's Transformer has one for both; the model cannot be imported."
                )
        encoder, decoder = self.heads
        return {
            "num_heads": encoder,
            "activation": _ACTIVATIONS[self.stacks[0].get("mlp_activation_fn", "relu")],
            "norm_epsilon": float(1e-5 if self.stacks[0].get("norm_eps") is None else self.stacks[0]["norm_eps"]),
            **({"decoder_heads": decoder} if decoder != encoder else {}),
        }

    def segmentation(self, given: Sequence[Path]) -> tuple[Segmenters, list[Path]]:
        """Return the segmenters of source and target, and their files.

        Args:
            given: Files that the user gave; by default, those that the transforms name.

        Raises:
            UserError: If a transform is not supported, or a file is missing.
        """
        configs = self.content.get("transforms_configs") or {}
        if not isinstance(configs, dict):
            raise UserError(f"{self.folder / CONFIG}: transforms_configs is not an object. {REMEDY}")
        names = transform_names(self.folder / CONFIG, self.content)
        used = [config for name, config in configs.items() if name in names and isinstance(config, dict)]
        options = {name: value for config in used for name, value in config.items()}
        transforms = read_transforms(self.folder / CONFIG, self.content, options)
        files = list(given)
        if transforms.name and not files:
            files = [self._file(name) for name in dict.fromkeys(transforms.models)]
        return transforms.read(files), files

    def _file(self, name: str) -> Path:
        """Return Eole's copy of a file in the folder."""
        path = self.folder / Path(name).name
        if not path.is_file():
            raise UserError(
                f"{self.folder}: has no {path.name or 'subword model'}, which config.json names. Give the subword "
                "model: import eole DIR MODEL RUN."
            )
        return path
