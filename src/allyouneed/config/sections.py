"""Settings of data, training and search: names, types, bounds and descriptions. The defaults are the paper's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from allyouneed.config.section import Section

_MOST_STEPS = 10**9
_MOST_MINUTES = 1_000_000  # nearly two years

Column = Annotated[int, Field(ge=1, le=10_000)] | Annotated[str, Field(min_length=1, max_length=200)]
Symbol = Annotated[str, Field(pattern=r"^[^\s▁]{1,100}$", description="texts without spaces, such as <2de>")]
_LAYERED = r"(en|de)coder(\.[1-9]\d{0,3}(-[1-9]\d{0,3})?)?(\.((self_|cross_)?attention|feed_forward))?"
ModelPart = Annotated[
    str,
    Field(
        pattern=f"^(((source|target)_)?embeddings|output|{_LAYERED})$",
        description="parts such as embeddings, output, encoder, decoder.1-3 or decoder.cross_attention",
    ),
]

CleaningCheck = Annotated[
    str,
    Field(
        pattern="^-?(standard|web|control|encoding|entities|duplicates|near_duplicates|ratio|script|language|copies"
        "|numbers|letters|repetition)$",
        description="sets (standard, web) and checks (control, encoding, entities, duplicates, near_duplicates, ratio, "
        "script, language, copies, numbers, letters, repetition); -NAME leaves one out",
    ),
]


class DataConfig(Section):
    """Settings of the training data (section 5.1). Lengths are in tokens."""

    vocab_size: int = Field(
        default=37_000,
        ge=16,
        le=16_777_216,
        description="Tokens in the joint vocabulary of source and target, or in each of two separate vocabularies",
    )
    subwords: Literal["bpe", "unigram", "word", "char"] = Field(
        default="bpe",
        description="Kind of tokenizer; word, char: whole words or characters only, others are encoded as bytes",
    )
    separate_vocabularies: bool = Field(
        default=False, description="Train a tokenizer for each language instead of one for both"
    )
    symbols: tuple[Symbol, ...] = Field(
        default=(),
        strict=False,
        max_length=10_000,
        description='User-defined symbols such as "<2de>", each of which is always a single token',
    )
    character_coverage: float = Field(
        default=0.9999,
        ge=0.98,
        le=1,
        description="Share of the text's characters in the vocabulary; rarer characters are encoded as bytes",
    )
    tokenizer_characters: int = Field(
        default=4_000_000,
        ge=100_000,
        le=1_000_000_000,
        description="Characters of different words that are kept in memory to train the tokenizer; of more, rare words "
        "are sampled",
    )
    subword_sampling: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Subword regularisation in training: with bpe, the probability that a merge is skipped; with "
        "unigram, the α of sampling from all segmentations; 0: off",
    )
    sampled_side: Literal["both", "source", "target"] = Field(
        default="both", description="Side on which `subword_sampling` segments words at random"
    )
    max_length: int = Field(default=256, ge=1, le=100_000, description="Longer pairs are dropped from training")
    max_ratio: float = Field(
        default=4.0,
        ge=1,
        le=1_000_000,
        description="Pairs are dropped if one side is this many times as long as the other",
    )
    cleaning: tuple[CleaningCheck, ...] = Field(
        default=("standard",),
        strict=False,
        max_length=30,
        description="Checks that repair or drop training pairs (docs/howto/cleaning.md): a set for text that is "
        "known to be good (standard) or was collected from the web (web), and single checks, for example "
        "standard,encoding or web,-numbers",
    )
    columns: tuple[Column, Column] = Field(
        default=(1, 2),
        strict=False,
        description="Columns of source and target in a table: numbers from 1, or names; with 1,2, a header that names "
        "them takes precedence",
    )
    drop_overlap: bool = Field(
        default=False, description="Drop training pairs that are also in the validation text, up to case and spaces"
    )
    faults: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="If most pairs are not parallel, swapped, copied or garbled: refuse the text, or warn",
    )

    @field_validator("symbols", mode="before")
    @classmethod
    def _accept_one_symbol(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value

    @field_validator("cleaning", mode="before")
    @classmethod
    def _split_checks(cls, value: object) -> object:
        return _split(value)


class TrainingConfig(Section):
    """Settings of training (section 5)."""

    steps: int = Field(default=100_000, ge=1, le=_MOST_STEPS, description="Updates of the weights")
    minutes: float | None = Field(
        default=None,
        gt=0,
        le=_MOST_MINUTES,
        description="Wall-clock budget in minutes, from which the number of steps and a decay to zero are planned",
    )
    seed: int = Field(default=1, ge=0, le=2**31 - 1, description="Seed of initialisation, batch order and dropout")
    batch_tokens: int = Field(
        default=25_000, ge=1, le=10_000_000, description="Tokens per update and side, padding included (section 5.1)"
    )
    micro_batches: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Parts of a batch processed in turn, to save memory; none: as few as fit into the memory that is "
        "available at the start",
    )
    sharding: Literal["full"] | None = Field(
        default=None,
        description="What several processes divide among them besides batches (FSDP2); full: weights, gradients and "
        "optimizer state, for models that do not fit; none: each has the whole model (DDP)",
    )
    optimizer: Literal["adam", "muon"] = Field(
        default="adam", description="Optimizer; muon: for the matrices, Adam elsewhere"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1000, description="Peak learning rate; none: the paper's, d_model^-0.5 · warmup^-0.5"
    )
    warmup: int = Field(default=4000, ge=1, le=_MOST_STEPS, description="Steps of linear warm-up (section 5.3)")
    decay: Literal["inverse_sqrt", "linear"] = Field(
        default="inverse_sqrt",
        description="Learning rate after warm-up: 1/√step (section 5.3), or linear decay to zero",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="Adam's decay of the second moment")
    epsilon: float = Field(default=1e-9, gt=0, le=1, description="Adam's ε")
    weight_decay: float = Field(default=0.0, ge=0, le=10, description="Decoupled weight decay")
    matrix_learning_rate: float = Field(default=0.02, gt=0, le=1000, description="Muon's peak learning rate")
    clip_norm: float | None = Field(default=None, gt=0, le=1e9, description="Maximum gradient norm (none: no clipping)")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="The ε of label smoothing (section 5.4)")
    teacher_share: float = Field(
        default=0.0, ge=0, le=1, description="Weight of the teacher's distribution in the target, for `distil`"
    )
    consistency_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Weight, in the target, of the model's own distribution with another dropout mask, for which each "
        "batch is computed twice (R-Drop, Liang et al. 2021); 0: off",
    )
    word_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the tokens of source and decoder input that training replaces with the unknown token "
        "(Gal and Ghahramani 2016)",
    )
    validate_every: int = Field(default=1000, ge=1, le=_MOST_STEPS, description="Steps between validations")
    bleu_sentences: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="Validation sentences translated greedily at each validation; 0: none",
    )
    bleu_tokenizer: Literal[
        "auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "spBLEU-1K", "none"
    ] = Field(default="auto", description="sacreBLEU's tokenizer for validation BLEU; auto: by the target language")
    freeze: tuple[ModelPart, ...] = Field(
        default=(),
        strict=False,
        max_length=100,
        description="Parts of the model that keep the weights of the start or the teacher: embeddings, "
        "source_embeddings, target_embeddings, output, encoder, decoder; layers as encoder.1-3; .attention, "
        ".self_attention, .cross_attention or .feed_forward for that part of each layer",
    )
    quality: Literal["bleu", "chrf", "loss"] = Field(
        default="bleu",
        description="Metric of the best validation, of patience and of the choice of the final weights; loss if "
        "bleu_sentences is 0",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=_MOST_STEPS,
        description="Validations without better quality before training stops, counted from the end of warm-up and "
        "while BLEU or chrF is above zero or the loss no longer falls",
    )
    max_skipped_steps: int = Field(
        default=10,
        ge=1,
        le=_MOST_STEPS,
        description="Consecutive steps skipped for a loss or gradient that is not finite before training stops",
    )
    average: int = Field(default=5, ge=1, le=1000, description="Snapshots averaged at the end (section 6.1)")
    average_every: int = Field(
        default=1500, ge=1, le=_MOST_STEPS, description="Steps between snapshots: 10 minutes of the paper's base model"
    )
    keep_snapshots: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Snapshots of the weights kept for `look --over-training`, 4 bytes per parameter each: the initial "
        "and the last weights, and others evenly spaced on a square-root scale of steps; 0: none",
    )
    save_minutes: float = Field(
        default=5.0,
        gt=0,
        le=_MOST_MINUTES,
        description="Wall-clock minutes between checkpoints; does not change the result",
    )
    log_every: int = Field(default=50, ge=1, le=_MOST_STEPS, description="Steps between lines of log.jsonl")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Device; auto: CUDA where available")
    plain: bool = Field(
        default=False, description="Train with the plain PyTorch reference implementation, which is slow"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Number format of matrix products; auto: bf16 autocast on CUDA, fp32 elsewhere; bf16 on a CPU "
        "needs AMX or fast AVX512_BF16 (else fp32 is used) and keeps sums, weights and gradients in fp32",
    )

    @field_validator("freeze", mode="before")
    @classmethod
    def _split_parts(cls, value: object) -> object:
        return _split(value)

    @model_validator(mode="after")
    def _check_targets(self) -> TrainingConfig:
        if self.teacher_share and self.consistency_share:
            raise ValueError(
                "training.teacher_share and training.consistency_share exclude each other: a target has one soft part; "
                "set one of them to 0"
            )
        return self


class SearchConfig(Section):
    """Settings of search (section 6.1). Lengths are in tokens."""

    beam_size: int = Field(default=4, ge=1, le=1024, description="Hypotheses kept at each step; 1: greedy search")
    length_penalty: float = Field(default=0.6, ge=-10, le=10, description="The α of the length penalty")
    length_offset: float = Field(
        default=5.0,
        ge=0,
        le=1000,
        description="The k of the length penalty ((k + |Y|) / (k + 1))^α: 5 in the paper's, 0 to divide by |Y|^α as in "
        "Marian and other systems",
    )
    max_extra_length: int = Field(
        default=50, ge=0, le=100_000, description="A translation may have this many tokens more than its source"
    )
    batch_tokens: int = Field(
        default=4096, ge=1, le=10_000_000, description="Source tokens · beam_size per batch, padding included"
    )


def _split(value: object) -> object:
    """Return the items of a text separated by commas; none for an empty one."""
    if value is None or value == "":
        return ()
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else value
