"""Subjects: turns anybody's module into a function from source and target ids to logits.

Dimensions: batch; source, target: positions; vocab: size of the target vocabulary.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from allyouneed.errors import UserError
from allyouneed.verification.calling import MASK, MASKS, SOURCE, TARGET, Convention, Forward, call, forward_parameters

_PAD_NAMES = re.compile(r"(src_|source_|trg_|tgt_|target_)?pad(ding)?_?(id|idx|index|token_id|token|token_idx)?$")


@dataclass(frozen=True)
class Subject:
    """A module with everything that is needed to call it.

    Attributes:
        module: The module, in evaluation mode.
        convention: How it is called.
        pad_id: Id of padding.
        bos_id: Id of the start token.
        source_vocab: Size of the source vocabulary.
        target_vocab: Size of the target vocabulary.
        kind: What the output is: "logits", "log-probabilities" or "probabilities".
    """

    module: nn.Module
    convention: Convention
    pad_id: int
    bos_id: int
    source_vocab: int
    target_vocab: int
    kind: str = "logits"

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits (or log probabilities), shape [batch, target, vocab]."""
        x = call(self.module, self.convention, source, target, self.pad_id)
        return x.clamp_min(torch.finfo(x.dtype).tiny).log() if self.kind == "probabilities" else x

    def with_module(self, module: nn.Module) -> Subject:
        """Return the same subject with another copy of the module."""
        return replace(self, module=module)

    def in_double(self, distinct: bool = False) -> Subject:
        """Return a float64 copy if the module runs in float64, else the subject itself.

        Args:
            distinct: Change parameters that a fresh module has the same values in, such as the norms' ones and zeros,
                so that two of them cannot be mistaken for each other.
        """
        try:
            double = self.with_module(copy.deepcopy(self.module).double().eval())
            if distinct:
                _make_distinct(double.module)
            with torch.no_grad():
                result = double(*self.sample(2, 5, 4))
        except Exception:
            return self
        return double if result.dtype == torch.float64 else self

    def sample(self, batch: int, source: int, target: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Draw ids without padding; targets begin with the start token."""
        generator = torch.Generator().manual_seed(seed)

        def draw(vocab: int, length: int) -> Tensor:
            allowed = torch.tensor([i for i in range(vocab) if i not in (self.pad_id, self.bos_id)])
            return allowed[torch.randint(len(allowed), (batch, length), generator=generator)]

        sources, targets = draw(self.source_vocab, source), draw(self.target_vocab, target)
        targets[:, 0] = self.bos_id
        return sources, targets


def _make_distinct(module: nn.Module) -> None:
    """Add noise to vectors of equal elements, and to parameters with the values of an earlier one."""
    generator = torch.Generator().manual_seed(11)
    seen: dict[tuple[torch.Size, float], list[Tensor]] = {}
    for parameter in module.parameters():
        x = parameter.data
        if not parameter.requires_grad or x.numel() < 2 or not x.is_floating_point():
            continue
        earlier = seen.setdefault((x.shape, float(x.double().sum())), [])
        constant = x.dim() == 1 and bool((x == x[0]).all())
        if constant or any(torch.equal(x, other) for other in earlier):
            spread = 0.1 if constant else 0.3 * float(x.std())
            x += (spread * torch.randn(x.shape, generator=generator, dtype=torch.float64)).to(x)
        else:
            earlier.append(x)


def _conventions(module: nn.Module) -> Iterator[Convention]:
    """Yield plausible conventions, the most plausible first."""
    parameters = forward_parameters(module)
    names = [p.name for p in parameters]
    swapped = len(names) > 1 and bool(TARGET.search(names[0])) and bool(SOURCE.search(names[1]))
    masked = any(MASK.search(name) for name in names)
    required = any(MASK.search(p.name) and p.default is inspect.Parameter.empty for p in parameters)
    forms = ["", *(MASKS if masked else [])]
    if any("padding_mask" in name for name in names):
        forms = ["torch", ""]
    if required:
        forms = [form for form in forms if form]
    if parameters:
        for form in forms:
            for first in (False, True):
                yield Convention(first, form, swapped)
    if callable(getattr(module, "encode", None)) and callable(getattr(module, "decode", None)):
        for form in ("keep heads", "keep", "hide", ""):
            yield Convention(masks=form, staged=True)


def find_subject(
    module: nn.Module,
    forward: Forward | None = None,
    pad_id: int | None = None,
    bos_id: int | None = None,
    vocab_size: int | None = None,
    target_vocab_size: int | None = None,
) -> Subject:
    """Find out how a module is called.

    Args:
        module: The module.
        forward: Called as forward(module, source, target) with ids [batch, length]; None: found by trial.
        pad_id: Id of padding; None: an attribute of the module, `padding_idx`, or the id that is hidden, else 0.
        bos_id: Id of the start token; None: the smallest id that is not padding.
        vocab_size: Source vocabulary size; None: rows of the source embedding.
        target_vocab_size: Target vocabulary size; None: rows of the target embedding, or `vocab_size`.

    Returns:
        The subject, whose convention leaks least of those that run.

    Raises:
        UserError: If the module cannot be called; the message lists what was tried.
    """
    read = _find_pad(module) if pad_id is None else pad_id
    pad = max(read or 0, 0)
    bos = (1 if pad == 0 else 0) if bos_id is None else bos_id
    source_vocab, target_vocab = _find_vocabularies(module, vocab_size, target_vocab_size)
    if pad_id is not None and not 0 <= pad < min(source_vocab, target_vocab):
        raise UserError(f"pad_id {pad}: the vocabularies have {source_vocab} and {target_vocab} tokens.")
    tried: list[str] = []
    runnable: list[tuple[tuple[int, int], Subject]] = []
    for convention in [Convention(custom=forward)] if forward is not None else _conventions(module):
        subject = Subject(module, convention, pad, bos, source_vocab, target_vocab)
        try:
            subject = _with_output(subject)
            runnable.append(((_leaks(subject), len(runnable)), subject))
        except Exception as error:
            tried.append(f"{convention.describe()}: {type(error).__name__}: {_short(error)}")
            continue
        if runnable[-1][0][0] == 0:
            break
    if not runnable:
        listed = "; ".join(dict.fromkeys(tried)) or "nothing, since forward takes no two arguments"
        raise UserError(f"cannot call the module with source and target ids. Tried {listed}. Give forward=.")
    best = min(runnable, key=lambda pair: pair[0])[1]
    return best if read is not None else _with_hidden_pad(best, bos_id)


def _with_hidden_pad(subject: Subject, bos_id: int | None) -> Subject:
    """Return the subject with the id of padding that its masks hide, if that is not the present one."""
    most = min(subject.source_vocab, subject.target_vocab)
    found = [(_leaks(subject), subject)]
    for pad in (1, 2, 3, most - 1) if found[0][0] and most > 4 else ():
        bos = (1 if pad == 0 else 0) if bos_id is None else bos_id
        other = replace(subject, pad_id=pad, bos_id=bos)
        try:
            found.append((_leaks(other), other))
        except Exception:
            continue
    return min(found, key=lambda pair: pair[0])[1]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _with_output(subject: Subject) -> Subject:
    """Run the subject, find its generator if the output is no logits yet, and what the output is."""
    source, target = subject.sample(3, 7, 5)
    with torch.no_grad():
        x = subject(source, target)
        if x.shape[-1] != subject.target_vocab:
            subject = replace(subject, convention=replace(subject.convention, generator=_generator(subject, x)))
            x = subject(source, target)
    if bool((x.exp().sum(-1) - 1).abs().max() < 1e-3) and bool((x <= 1e-5).all()):
        return replace(subject, kind="log-probabilities")
    if bool((x >= 0).all()) and bool((x.sum(-1) - 1).abs().max() < 1e-3):
        return replace(subject, kind="probabilities")
    return subject


def _generator(subject: Subject, x: Tensor) -> str:
    """Find the module that maps the decoder's states to the vocabulary."""
    for path, each in subject.module.named_modules():
        if "." in path or not path or isinstance(each, nn.Embedding | nn.ModuleList):
            continue
        try:
            with torch.no_grad():
                y = each(x)
        except Exception:
            continue
        if isinstance(y, Tensor) and y.shape == (*x.shape[:2], subject.target_vocab):
            return path
    raise ValueError(f"the last dimension of the output is {x.shape[-1]}, the vocabulary {subject.target_vocab}")


def _leaks(subject: Subject) -> int:
    """Count what the output depends on and should not, to choose between forms of masks."""
    source, target = subject.sample(3, 7, 5, seed=1)
    source[1, 4:] = subject.pad_id
    with torch.no_grad():
        x = subject(source, target)
        later = target.clone()
        later[:, 4] = (later[:, 4] + 1) % subject.target_vocab
        future = subject(source, later)[:, :4]
        short = subject(source[1:2, :4], target[1:2])
    scale = x.abs().max().clamp_min(1e-6) * 1e-4
    problems = [not bool(x.isfinite().all()), bool((future - x[:, :4]).abs().max() > scale)]
    problems += [bool((short - x[1:2]).abs().max() > scale)]
    earlier = target.clone()
    earlier[:, 1] = (earlier[:, 1] + 1) % subject.target_vocab
    with torch.no_grad():
        problems.append(not bool((subject(source, earlier)[:, 4] - x[:, 4]).abs().max() > scale))
    return sum(problems)


def _find_pad(module: nn.Module) -> int | None:
    """Read the id of padding from attributes of the module, its configuration or its embeddings, if there is any."""
    for each in [*module.modules(), getattr(module, "config", None)]:
        for name, value in vars(each).items() if each is not None else ():
            if _PAD_NAMES.fullmatch(name.lower()) and isinstance(value, int) and not isinstance(value, bool):
                return value
    config = getattr(module, "config", None)
    value = getattr(config, "pad_token_id", None)
    if isinstance(value, int):
        return value
    found = (e.padding_idx for e in module.modules() if isinstance(e, nn.Embedding) and e.padding_idx is not None)
    return next(found, None)


def _find_vocabularies(module: nn.Module, source: int | None, target: int | None) -> tuple[int, int]:
    tables = [
        (p.lower(), e) for p, e in module.named_modules() if isinstance(e, nn.Embedding) and "pos" not in p.lower()
    ]
    if not tables:
        if source is None:
            raise UserError("the module has no torch.nn.Embedding: give vocab_size.")
        return source, target or source
    first = next((e for p, e in tables if re.search(r"src|source|enc", p)), tables[0][1])
    second = next((e for p, e in tables if re.search(r"tgt|trg|target|dec", p)), tables[-1][1])
    return source or first.num_embeddings, target or second.num_embeddings
