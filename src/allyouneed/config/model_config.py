"""Settings of the model: names, types, bounds and descriptions. The defaults are the paper's base model."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from allyouneed.config.section import Section


class StackSizes(NamedTuple):
    """Sizes of the layers of the encoder or the decoder.

    Attributes:
        layers: Number of layers.
        d_ff: Width of the feed-forward networks' inner layer.
        heads: Attention heads per layer.
        d_k: Size of a head's queries and keys.
        d_v: Size of a head's values.
    """

    layers: int
    d_ff: int
    heads: int
    d_k: int
    d_v: int

    def count_weights(self, d_model: int, attentions: int) -> int:
        """Count the entries of the weight matrices in all layers, each with this number of attentions."""
        attention = 2 * d_model * self.heads * (self.d_k + self.d_v)
        return self.layers * (attentions * attention + 2 * d_model * self.d_ff)


class ModelConfig(Section):
    """Settings of the model (section 3 of the paper)."""

    d_model: int = Field(
        default=512, ge=2, le=65_536, description="Width of the embeddings and of every layer's output"
    )
    d_ff: int = Field(default=2048, ge=1, le=1_048_576, description="Width of the feed-forward networks' inner layer")
    decoder_d_ff: int | None = Field(
        default=None, ge=1, le=1_048_576, description="The same in the decoder, if it differs; none: d_ff"
    )
    num_heads: int = Field(default=8, ge=1, le=1024, description="Attention heads per layer")
    decoder_heads: int | None = Field(
        default=None, ge=1, le=1024, description="The same in the decoder, if it differs; none: num_heads"
    )
    d_k: int | None = Field(
        default=None, ge=1, le=65_536, description="Size of a head's queries and keys; d_model / num_heads"
    )
    d_v: int | None = Field(default=None, ge=1, le=65_536, description="Size of a head's values; d_model / num_heads")
    encoder_layers: int = Field(default=6, ge=1, le=1024, description="Layers of the encoder")
    decoder_layers: int = Field(default=6, ge=1, le=1024, description="Layers of the decoder")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Dropout rate of sublayer outputs and embeddings (section 5.4)"
    )
    norm: Literal["post", "pre"] = Field(
        default="post", description="Layer norm after (the paper) or before each sublayer"
    )
    final_norm: bool | Literal["encoder", "decoder"] | None = Field(
        default=None,
        description="Layer norm of the output of both stacks, of neither, or of one; none: with norm = pre only",
    )
    norm_epsilon: float = Field(
        default=1e-5, gt=0, le=0.1, description="The ε that layer norms add to the variance (the paper gives none)"
    )
    embedding_norm: bool = Field(
        default=False, description="Layer norm of the sum of embeddings and positions; the paper has none"
    )
    scale_embeddings: bool = Field(default=True, description="Multiply embeddings by √d_model (section 3.4)")
    positions: Literal["sinusoidal", "learned"] = Field(default="sinusoidal", description="Kind of position encoding")
    sinusoid_frequencies: Literal["paper", "tensor2tensor"] = Field(
        default="paper",
        description="Exponents of 1/10000 in the sinusoids, for pairs i from 0: 2i / d_model (section 3.5), or "
        "i / (d_model/2 - 1) as in tensor2tensor, fairseq, Marian and OpenNMT-tf",
    )
    first_position: int = Field(
        default=0, ge=0, le=1024, description="First position of the sinusoids: 0, in OpenNMT-tf 1, in fairseq 2"
    )
    max_positions: int = Field(
        default=1024, ge=1, le=1_048_576, description="Number of learned positions; sinusoids are unlimited"
    )
    tie_embeddings: bool | Literal["target", "inputs"] = Field(
        default=True,
        description="Matrices that embeddings and output projection share: one for all, one for each, one for the "
        "target embeddings and the output (target), or one for both embeddings (inputs)",
    )
    attention_bias: bool = Field(default=False, description="Bias in the attention projections; the paper has none")
    feed_forward_bias: bool = Field(
        default=True, description="Bias in the feed-forward networks, as in the paper (equation 2)"
    )
    output_bias: bool = Field(
        default=False, description="Bias in the output projection; the paper has none, Marian has one"
    )
    source_end: bool = Field(
        default=True, description="Let attention see the end token of the source; OpenNMT-py's models do not"
    )
    activation: Literal["relu", "swish", "gelu", "gelu_tanh", "gelu_sigmoid"] = Field(
        default="relu",
        description="Feed-forward activation; gelu_tanh, gelu_sigmoid: GELU approximated by tanh or, as in Marian, by "
        "x · sigmoid(1.702 x)",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> ModelConfig:
        for name, heads in (("num_heads", self.num_heads), ("decoder_heads", self.decoder.heads)):
            if (self.d_k is None or self.d_v is None) and self.d_model % heads:
                raise ValueError(
                    f"model.d_model = {self.d_model} is not divisible by model.{name} = {heads}; "
                    f"choose a d_model that is a multiple of {name}, or set model.d_k and model.d_v"
                )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"model.d_model = {self.d_model} is odd; sinusoids come in pairs, choose an even number")
        if self.positions == "learned" and self.first_position:
            raise ValueError(
                f"model.first_position = {self.first_position} is for sinusoids, and model.positions = learned; "
                "leave it out: learned positions are counted from 0"
            )
        return self

    @property
    def encoder(self) -> StackSizes:
        """Sizes of the encoder's layers."""
        return self._sizes(self.encoder_layers, self.d_ff, self.num_heads)

    @property
    def decoder(self) -> StackSizes:
        """Sizes of the decoder's layers."""
        return self._sizes(self.decoder_layers, self.decoder_d_ff or self.d_ff, self.decoder_heads or self.num_heads)

    def _sizes(self, layers: int, d_ff: int, heads: int) -> StackSizes:
        return StackSizes(layers, d_ff, heads, self.d_k or self.d_model // heads, self.d_v or self.d_model // heads)

    def has_final_norm(self, stack: str) -> bool:
        """Return whether the output of a stack, "encoder" or "decoder", is normalised."""
        return self.norm == "pre" if self.final_norm is None else self.final_norm in (True, stack)

    @property
    def key_size(self) -> int:
        """d_k of the encoder: the setting if given, else d_model / num_heads."""
        return self.encoder.d_k

    @property
    def value_size(self) -> int:
        """d_v of the encoder: the setting if given, else d_model / num_heads."""
        return self.encoder.d_v

    @property
    def learned_positions(self) -> int | None:
        """Number of learned positions, which limits the length of sentences; None for sinusoids."""
        return self.max_positions if self.positions == "learned" else None

    def count_weights(self, vocab_size: int) -> int:
        """Count the entries of all weight matrices, without biases and layer norms (less than one percent).

        Args:
            vocab_size: Number of tokens in the joint vocabulary.
        """
        matrices = {True: 1, "target": 2, "inputs": 2, False: 3}[self.tie_embeddings]
        positions = 2 * self.max_positions if self.positions == "learned" else 0
        return self.count_layer_weights() + (matrices * vocab_size + positions) * self.d_model

    def count_attention(self, source: int, target: int) -> int:
        """Count the attention weights of all heads for a sentence pair.

        Args:
            source: Number of source tokens.
            target: Number of target tokens.
        """
        encoder, decoder = (stack.layers * stack.heads for stack in (self.encoder, self.decoder))
        return encoder * source**2 + decoder * (source + target) * target

    def count_layer_weights(self) -> int:
        """Count the entries of the weight matrices in all layers of the encoder and the decoder."""
        attentions = ((self.encoder, 1), (self.decoder, 2))
        return sum(stack.count_weights(self.d_model, number) for stack, number in attentions)
