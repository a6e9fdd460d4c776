"""Settings of a fairseq checkpoint: those of the command line in old ones (`args`), sections in later ones (`cfg`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allyouneed.errors import UserError
from allyouneed.exchange.reading.pickles import StandIn

STAND_INS = (  # types in checkpoints of fairseq, whose settings and progress records are read or skipped
    *("argparse.Namespace", "fairseq.*", "omegaconf.*", "pathlib.PosixPath", "typing.Any", "numpy.dtype"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
)
_SIDES = ("encoder", "decoder", "quant_noise")
_NESTING = 20
_ARCHITECTURES = {
    *(
        "transformer",
        "transformer_tiny",
        "transformer_iwslt_de_en",
        "transformer_wmt_en_de",
        "transformer_wmt_en_de_big",
    ),
    *("transformer_vaswani_wmt_en_de_big", "transformer_vaswani_wmt_en_fr_big", "transformer_wmt_en_de_big_t2t"),
    *("transformer_align", "transformer_wmt_en_de_big_align"),
}
_TASKS = {"translation"}
_DEFAULTS: dict[str, Any] = {  # of `base_architecture`, for settings that older versions did not have
    "activation_fn": "relu",
    "dropout": 0.1,
    "max_source_positions": 1024,
    "max_target_positions": 1024,
}
_REFUSED = {  # settings that change what is computed, beyond what a Transformer here can
    "adaptive_softmax_cutoff": "the output is an adaptive softmax",
    "adaptive_input": "the input embeddings have several widths",
    "no_cross_attention": "the decoder has no attention over the source",
    "cross_self_attention": "the decoder's self-attention includes the source",
    "char_inputs": "the input is characters",
    "char_embedder_options": "the input is characters",
    "base_layers": "the decoder has mixtures of experts",
    "quant_noise_scalar": "the weights are quantized in training and in use",
    "scale_attn": "attention has norms of its own",
    "scale_fc": "the feed-forward networks have norms of their own",
    "scale_heads": "heads have factors",
    "scale_resids": "residual connections have factors",
    "alibi": "attention depends on distances",
    "encoder_xformers_att_config": "attention is another kind",
    "decoder_xformers_att_config": "attention is another kind",
}


class Settings:
    """Settings by name, as on fairseq's command line.

    Args:
        path: The checkpoint, for messages.
        values: The settings.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]):
        self.path, self._values = path, values

    def get(self, name: str) -> Any:
        """Return a setting, or None."""
        value = self._values.get(name)
        return _DEFAULTS.get(name) if value is None else value

    def is_set(self, name: str) -> bool:
        """Return whether a setting has another value than none, false and zero."""
        return self.get(name) not in (None, False, 0, 0.0, "", "none", "None", "False", [], ())

    def integer(self, name: str) -> int:
        """Return a positive whole number.

        Raises:
            UserError: If the setting is missing or something else.
        """
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise UserError(
                f"{self.path}: {name} = {str(value)[:80]} is not a positive whole number. Get the file again."
            )
        return value

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        value = self.get(name)
        return value if isinstance(value, str) and value else None

    def kept_layers(self, side: str) -> list[int] | None:
        """Return the layers that a pruned model keeps, or None for all."""
        value = self.get(f"{side}_layers_to_keep")
        numbers = value.split(",") if isinstance(value, str) else value
        if not numbers:
            return None
        try:
            return sorted(int(number) for number in numbers)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}: {side}_layers_to_keep is not a list of layers. Get the file again."
            ) from error


def read_settings(path: Path, checkpoint: object) -> Settings:
    """Return the settings of a checkpoint, and refuse those that cannot be followed.

    Args:
        path: The checkpoint, for messages.
        checkpoint: Its content.

    Raises:
        UserError: If it has no settings, or describes another kind of model.
    """
    if not isinstance(checkpoint, Mapping) or "model" not in checkpoint:
        raise UserError(f"{path}: not a checkpoint of fairseq, which has settings and a model. Give its model.pt.")
    settings = Settings(path, _flat(checkpoint))
    if not settings.get("arch"):
        raise UserError(f"{path}: has no settings (args or cfg). Give a checkpoint as fairseq-train wrote it.")
    _check_kind(settings)
    for name, reason in _REFUSED.items():
        if settings.is_set(name):
            raise UserError(f"{path}: {name} is set: {reason}, which no Transformer here does. It cannot be imported.")
    for name in ("normalize_before", "embed_dim"):
        values = [settings.get(f"{side}_{name}") for side in ("encoder", "decoder")]
        if None not in values and values[0] != values[1]:
            raise UserError(
                f"{path}: encoder_{name} = {values[0]} and decoder_{name} = {values[1]} differ, which is not "
                "supported. It cannot be imported."
            )
    width = settings.get("decoder_embed_dim")
    for name in ("decoder_input_dim", "decoder_output_dim"):
        if isinstance(value := settings.get(name), int) and value != width:
            raise UserError(
                f"{path}: {name} = {value} differs from decoder_embed_dim = {width}. It cannot be imported."
            )
    return settings


def _check_kind(settings: Settings) -> None:
    architecture, task = str(settings.get("arch"))[:80], str(settings.get("task") or "translation")[:80]
    if architecture not in _ARCHITECTURES:
        raise UserError(
            f"{settings.path}: arch = {architecture} is not an encoder-decoder Transformer of fairseq's own, only "
            f"{', '.join(sorted(_ARCHITECTURES))}. It cannot be imported."
        )
    if task not in _TASKS:
        raise UserError(
            f"{settings.path}: task = {task} is not supported, only translation between two languages. It cannot be "
            "imported."
        )
    if settings.is_set("user_dir"):
        raise UserError(
            f"{settings.path}: user_dir is set, so the model may contain code of its own. If it does not, remove the "
            "setting from the checkpoint with Python: `args.user_dir = None`, or `cfg['common']['user_dir'] = None`."
        )


def _flat(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of model, task and the rest under the names of the command line."""
    arguments = _plain(checkpoint.get("args"))
    if isinstance(arguments, dict) and arguments:
        return _with_sides(arguments)
    sections = _plain(checkpoint.get("cfg"))
    if not isinstance(sections, dict):
        return {}
    found = {
        name: value for section in ("common", "task", "model") for name, value in _section(sections, section).items()
    }
    model, task = _section(sections, "model"), _section(sections, "task")
    found["arch"] = model.get("arch") or model.get("_name") or sections.get("model")
    found["task"] = task.get("_name") or sections.get("task")
    for name in ("tokenizer", "bpe"):
        value = sections.get(name)
        found[name] = value.get("_name") if isinstance(value, dict) else value
    return _with_sides(found)


def _section(sections: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = sections.get(name)
    return section if isinstance(section, dict) else {}


def _with_sides(settings: dict[str, Any]) -> dict[str, Any]:
    """Name nested settings of one side as on the command line: encoder.layers becomes encoder_layers."""
    flat = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    for side in _SIDES:
        if isinstance(nested := settings.get(side), dict):
            flat |= {f"{side}_{name}": value for name, value in nested.items()}
    return flat


def _plain(value: Any, depth: int = 0) -> Any:
    """Convert namespaces and OmegaConf's containers to dictionaries and lists."""
    if depth > _NESTING:
        return None
    if isinstance(value, StandIn):
        attributes = value.attributes
        if value.kind.startswith("omegaconf."):
            inner = attributes.get("_content", attributes.get("_val"))
            return _plain(inner, depth + 1)
        return _plain(attributes, depth + 1) if attributes else _plain(next(iter(value.arguments), None), depth + 1)
    if isinstance(value, Mapping):
        return {str(name): _plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value[:1000]]
    return value
