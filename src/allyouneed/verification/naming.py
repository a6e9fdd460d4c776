"""Roles of a module's parameters, found by their names, shapes and order.

Nothing here is trusted: a wrong guess gives a computation that does not reproduce the module, and is reported as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from allyouneed.errors import UserError
from allyouneed.verification.owners import Owner, Unmapped, find_eps, find_heads, is_position, list_owners, vector_size
from allyouneed.verification.paths import block_of, kinds_of, place_of, role_of
from allyouneed.verification.weights import Tap, Weights, from_names

_SOURCE, _TARGET = re.compile(r"src|source|enc|input"), re.compile(r"tgt|trg|target|dec|output")


class _Mapping:
    """Names and taps found so far."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.taps: list[Tap] = []
        self.problems: list[Unmapped] = []
        self.notes: dict[str, None] = {}

    def attempt(self, assign: Callable[..., None], *arguments: Any) -> None:
        """Assign roles; an unclear one is kept, since the caller may have named it."""
        try:
            assign(self, *arguments)
        except Unmapped as unclear:
            self.problems.append(unclear)

    def linear(self, name: str, owner: Owner, taps: Mapping[str, str], part: tuple[int, int] = (0, 1)) -> None:
        """Record a linear layer under our name; taps: side -> step. A part of a fused matrix has its own rows."""
        assert owner.matrix is not None
        index, count = part
        self.tensors[f"{name}.weight"] = owner.matrix.chunk(count)[index]
        if owner.bias is not None:
            self.tensors[f"{name}.bias"] = owner.bias.chunk(count)[index]
        if owner.hooked():
            self.taps += [
                Tap(step, owner.path, side, part if side == "output" else (0, 1)) for side, step in taps.items()
            ]

    def norm(self, name: str, owner: Owner, step: str) -> None:
        scale = next((x for key, x in owner.vectors.items() if not re.search(r"bias|beta|b_2|shift", key)), None)
        shift = next((x for key, x in owner.vectors.items() if re.search(r"bias|beta|b_2|shift", key)), None)
        if scale is None:
            raise Unmapped(f"{owner.path} has no scale")
        self.tensors[f"{name}.weight"] = scale
        if shift is not None:
            self.tensors[f"{name}.bias"] = shift
        if owner.module is not None:
            self.taps += [
                Tap(f"{step}.norm_input", owner.path, "input"),
                Tap(f"{step}.norm_output", owner.path, "output"),
            ]


def find_weights(
    module: nn.Module,
    num_heads: int | None = None,
    names: Mapping[str, str | Tensor] | None = None,
    per_head: bool = False,
    unused: Collection[str] = (),
) -> Weights:
    """Find the role of each parameter.

    Args:
        module: The module.
        num_heads: Number of heads; None: read from an attribute such as `num_heads`.
        names: Our parameter name -> the module's, or a tensor; overrides what is found (see `weights.our_names`).
        per_head: Read fused projections as [heads, 3 · width] instead of [3, heads · width].
        unused: Names of parameters that have no role.

    Returns:
        The parameters by role.

    Raises:
        Unmapped: If a role is unclear.
    """
    heads = num_heads or find_heads(module)
    width = next((e.embedding_dim for e in module.modules() if isinstance(e, nn.Embedding)), heads)
    if num_heads and width % heads:
        raise UserError(f"num_heads {heads}: d_model is {width}, which {heads} heads cannot share.")
    found = _Mapping()
    _search(module, found, heads, per_head, unused)
    for ours, theirs in (names or {}).items():
        _assign(module, found, ours, theirs)
    if found.problems and not names:
        raise found.problems[0]
    try:
        weights = from_names(found.tensors, heads, find_eps(module), tuple(found.taps))
        return replace(weights, notes=tuple(found.notes))
    except KeyError as missing:
        raise (found.problems or [Unmapped(f"nothing found for {missing.args[0]}")])[0] from None


def _assign(module: nn.Module, found: _Mapping, ours: str, theirs: str | Tensor) -> None:
    if isinstance(theirs, Tensor):
        found.tensors[ours] = theirs
        return
    parameters = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    if theirs not in parameters:
        raise Unmapped(f"the module has no parameter {theirs}")
    owner = next((o for o in list_owners(module) if o.path in (theirs, theirs.rpartition(".")[0])), None)
    whole = parameters[theirs]
    found.tensors[ours] = owner.matrix if owner and owner.matrix is not None and whole.dim() > 1 else whole


def _search(module: nn.Module, found: _Mapping, heads: int, per_head: bool, unused: Collection[str]) -> None:
    owners = [owner for owner in list_owners(module) if not owner.is_among(unused)]
    d_model = _embeddings(found, owners)
    layered: dict[str, dict[int, list[tuple[str, Owner]]]] = {"encoder": {}, "decoder": {}}
    for owner in owners:
        if isinstance(owner.module, nn.Embedding) or is_position(owner):
            continue
        side, index, rest = place_of(owner.path)
        if side is None:
            continue
        if index is None:
            if owner.matrix is None and vector_size(owner) == d_model:
                found.norm(f"{side}.norm", owner, side)
            continue
        layered[side].setdefault(index, []).append((rest, owner))
    for side, layers in layered.items():
        if not layers:
            found.problems.append(Unmapped(f"no parameter is under a numbered layer of the {side}"))
        for number, index in enumerate(sorted(layers)):
            found.attempt(_layer, side, number, layers[index], d_model, heads, per_head)


def _embeddings(found: _Mapping, owners: list[Owner]) -> int:
    """Record embeddings, learned positions and the output matrix; return d_model."""
    tables = [o for o in owners if isinstance(o.module, nn.Embedding) and not is_position(o)]
    if not tables:
        raise Unmapped("the module has no torch.nn.Embedding for tokens")
    source = next((o for o in tables if _SOURCE.search(o.path.lower())), tables[0])
    target = next((o for o in tables if o is not source and _TARGET.search(o.path.lower())), None)
    target = target or next((o for o in tables if o is not source), source)
    for side, owner in (("source", source), ("target", target)):
        assert owner.matrix is not None
        found.tensors[f"{side}_embedding.tokens.weight"] = owner.matrix
        found.taps.append(Tap(f"{side}.tokens", owner.path, "output"))
    assert source.matrix is not None
    assert target.matrix is not None
    d_model, vocab = source.matrix.shape[1], target.matrix.shape[0]
    _positions(found, owners, d_model)
    outputs = [o for o in owners if o.matrix is not None and not isinstance(o.module, nn.Embedding)]
    outputs = [_as_output(o, vocab, d_model) for o in outputs]
    outputs = [o for o in outputs if o.matrix is not None and tuple(o.matrix.shape) == (vocab, d_model)]
    outputs = [o for o in outputs if place_of(o.path)[1] is None] or outputs
    if outputs:
        found.linear("output", outputs[-1], {"input": "output.input"})
    return d_model


def _as_output(owner: Owner, vocab: int, d_model: int) -> Owner:
    """Transpose a bare output matrix that is [vocab, d_model] already, as an embedding is."""
    turned = owner.module is None and owner.matrix is not None and tuple(owner.matrix.shape) == (d_model, vocab)
    return replace(owner, matrix=owner.matrix.T) if turned and owner.matrix is not None else owner


def _positions(found: _Mapping, owners: list[Owner], d_model: int) -> None:
    learned = [o for o in owners if is_position(o) and o.matrix is not None and o.matrix.requires_grad]
    learned = [o for o in learned if o.matrix is not None and o.matrix.shape[-1] == d_model]
    for side, pattern in (("source", _SOURCE), ("target", _TARGET)):
        chosen = next((o for o in learned if pattern.search(o.path.lower())), learned[0] if learned else None)
        if chosen is not None and chosen.matrix is not None:
            found.tensors[f"{side}_embedding.positions"] = chosen.matrix.reshape(-1, d_model)


def _layer(
    found: _Mapping, side: str, number: int, members: list[tuple[str, Owner]], d_model: int, heads: int, per_head: bool
) -> None:
    prefix, site = f"{side}.layers.{number}", f"{side}.{number}"
    norms = [(rest, o) for rest, o in members if o.matrix is None and vector_size(o) == d_model]
    blocks: dict[str, list[tuple[str, Owner]]] = {}
    feed = []
    for rest, owner in members:
        if owner.matrix is None:
            continue
        placed = block_of(rest)
        if placed is None:
            feed.append((rest, owner))
        else:
            blocks.setdefault(placed[0], []).append((placed[1], owner))
    kinds = kinds_of(list(blocks), 1 if side == "encoder" else 2, prefix)
    for block, kind in kinds.items():
        name = "self_attention" if kind == "self" else "cross_attention"
        _attention(found, f"{prefix}.{name}", f"{site}.{kind}", blocks[block], (heads, per_head))
        found.taps += _module_taps(f"{site}.{kind}", blocks[block])
    found.attempt(_feed_forward, prefix, site, [o for _, o in feed], d_model)
    order = ["self", "cross", "ffn"] if side == "decoder" else ["self", "ffn"]
    found.attempt(_norms, prefix, site, norms, {kind: block for block, kind in kinds.items()}, order)


def _module_taps(site: str, members: list[tuple[str, Owner]]) -> list[Tap]:
    """Observe `torch.nn.MultiheadAttention` as a whole, since its projections are not called as modules."""
    path = next((o.path.removesuffix(".in_proj") for _, o in members if o.path.endswith(".in_proj")), None)
    if path is None:
        return []
    return [
        Tap(f"{site}.{step}", path, part)
        for step, part in (("input", "input"), ("memory", "input 1"), ("output", "output"))
    ]


def _attention(
    found: _Mapping, name: str, site: str, members: list[tuple[str, Owner]], layout: tuple[int, bool]
) -> None:
    steps = {"query": "queries", "key": "keys", "value": "values"}
    inputs = {"query": "input", "key": "memory"}
    roles: dict[str, list[Owner]] = {}
    for rest, owner in members:
        roles.setdefault(role_of(rest, owner), []).append(owner)
    unclear = roles.pop("", [])
    if unclear and "query" not in roles and len(unclear) in (3, 4) and not {"qkv", "kv"} & roles.keys():
        roles |= {role: [owner] for role, owner in zip(["query", "key", "value", "output"], unclear, strict=False)}
    elif unclear:
        roles.setdefault("output", []).append(unclear[-1])
    for fused, parts in (("qkv", ("query", "key", "value")), ("kv", ("key", "value"))):
        for owner in roles.pop(fused, []):
            regroup = layout[1] and not owner.path.endswith(
                "in_proj"
            )  # the layout of torch.nn.MultiheadAttention is known
            whole = _regrouped(owner, layout[0], len(parts)) if regroup else owner
            for index, role in enumerate(parts):
                taps = {} if regroup else {"output": f"{site}.{steps[role]}"}
                if role in inputs:
                    taps["input"] = f"{site}.{inputs[role]}"
                found.linear(f"{name}.{role}", whole, taps, (index, len(parts)))
    for role, owners in roles.items():
        if len(owners) > 1 and role in steps:  # one module per head
            matrices = [o.matrix for o in owners if o.matrix is not None]
            biases = [o.bias for o in owners if o.bias is not None]
            joined = Owner(owners[0].path, None, torch.cat(matrices), {"bias": torch.cat(biases)} if biases else {})
            found.linear(f"{name}.{role}", joined, {})
            continue
        taps = {"input": f"{site}.concat", "output": f"{site}.output"}
        if role in steps:
            taps = {"output": f"{site}.{steps[role]}"} | ({"input": f"{site}.{inputs[role]}"} if role in inputs else {})
        owner, width = owners[-1], found.tensors["source_embedding.tokens.weight"].shape[1]
        if owner.matrix is not None and layout[0] > 1 and owner.matrix.shape == (width // layout[0],) * 2:
            owner = _for_all_heads(owner, layout[0])
            found.notes["heads-shared"] = None
        found.linear(f"{name}.{role}", owner, taps)


def _for_all_heads(owner: Owner, heads: int) -> Owner:
    """Repeat a projection of one head's width, which is applied to a slice per head, along the diagonal."""
    assert owner.matrix is not None
    vectors = {name: x.repeat(heads) for name, x in owner.vectors.items()}
    return Owner(owner.path, owner.module, torch.block_diag(*[owner.matrix] * heads), vectors)


def _regrouped(owner: Owner, heads: int, parts: int) -> Owner:
    """Reorder the rows of a fused matrix from [heads, parts, width] to [parts, heads, width]."""

    def rows(x: Tensor) -> Tensor:
        return x.unflatten(0, (heads, parts, -1)).transpose(0, 1).flatten(0, 2)

    assert owner.matrix is not None
    vectors = {name: rows(x) for name, x in owner.vectors.items()}
    return Owner(owner.path, owner.module, rows(owner.matrix), vectors)


def _feed_forward(found: _Mapping, prefix: str, site: str, owners: list[Owner], d_model: int) -> None:
    fitting = [o for o in owners if o.matrix is not None and d_model in o.matrix.shape]
    if len(fitting) != 2:
        listed = ", ".join(o.path for o in fitting) or "none"
        raise Unmapped(f"{prefix}: {len(fitting)} matrices instead of 2 for the feed-forward network ({listed})")
    inner, outer = fitting
    assert inner.matrix is not None
    if inner.matrix.shape[1] != d_model:
        inner, outer = outer, inner
    found.linear(f"{prefix}.feed_forward.inner", inner, {"input": f"{site}.ffn.input", "output": f"{site}.ffn.inner"})
    found.linear(f"{prefix}.feed_forward.outer", outer, {"input": f"{site}.ffn.hidden", "output": f"{site}.ffn.output"})


def _norms(
    found: _Mapping,
    prefix: str,
    site: str,
    norms: list[tuple[str, Owner]],
    blocks: Mapping[str, str],
    order: list[str],
) -> None:
    """Assign norms to sub-layers: by the block that contains them or is named in them, else by their order."""
    if len(norms) == 1:
        norms = norms * len(order)  # one norm shared by all sub-layers
    if norms and len(norms) != len(order):
        listed = ", ".join(rest for rest, _ in norms)
        raise Unmapped(f"{prefix}: {len(norms)} norms instead of {len(order)} ({listed})")
    placed: dict[str, Owner] = {}
    for rest, owner in norms:
        kind = next((k for k, block in blocks.items() if rest.startswith((f"{block}.", f"{block}_layer"))), None)
        if kind is not None:
            placed[kind] = owner
    rest_of = iter([o for _, o in norms if not any(o is p for p in placed.values())])
    for index, kind in enumerate(order):
        owner_or_none = placed.get(kind) or next(rest_of, norms[0][1] if norms else None)
        if owner_or_none is not None:
            found.norm(f"{prefix}.residuals.{index}.norm", owner_or_none, f"{site}.{kind}")
