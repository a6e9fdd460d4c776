"""What the paths of parameters say: the side, the layer, the attention block and the projection."""

from __future__ import annotations

import re

from allyouneed.verification.owners import Owner, Unmapped

_CROSS = re.compile(r"cross|src|source|enc|memory|inter|context|multihead_attn")
_SELF = re.compile(r"self|slf|mask|causal")
_ATTENTION = re.compile(r"att|attn|mha|multi_?head")
_FUSED = re.compile(r"qkv|in_proj|c_attn|kqv")
_FUSED_PAIR = re.compile(r"(^|[._])(to_)?w?kv([._]|$)|kv_proj")
_DECODER_ONLY = re.compile(r"cross|mem(ory)?_?att|(src|source|inter)_?att")
_CONTAINER = re.compile(
    r".*coders?|enc|dec|layers?|blocks?|blk|stacks?|list|modules?|module_?list|net|tower|units?|transformer|model|body"
)
_PROJECTION = re.compile(
    r"(?P<block>.*?)[._]?(?P<role>(w_?|to_?|fc_?|linear_?)?(q|k|v|o|query|key|value|queries|keys|values|qkv|kv)(_?proj|_?linear)?"
    r"|out_?proj|proj_?out)"
)
_ROLES = {
    "query": {"q", "qs", "wq", "query", "queries", "toq", "qproj", "qw", "fcq", "linearq", "qlinear"},
    "key": {"k", "ks", "wk", "key", "keys", "tok", "kproj", "kw", "fck", "lineark", "klinear"},
    "value": {"v", "vs", "wv", "value", "values", "tov", "vproj", "vw", "fcv", "linearv", "vlinear"},
}


def place_of(path: str) -> tuple[str | None, int | None, str]:
    """Return side, layer and the rest of a path: "model.encoder.layers.0.ffn.w1" -> ("encoder", 0, "ffn.w1")."""
    parts = path.split(".")
    side = None
    kept: list[str] = []  # names before the number that say which part of a layer it is, as in "enc_query.0"
    for position, part in enumerate(parts):
        lower = part.lower()
        encoder, decoder = "enc" in lower, "dec" in lower
        if side is None and encoder != decoder:
            side = "encoder" if encoder else "decoder"
        elif side is None and _DECODER_ONLY.match(lower):
            side = "decoder"
        if side is None:
            continue
        number = re.fullmatch(r"(?:\D*(?:layer|block|blk)s?_?)?(\d+)", lower)
        if number:
            return side, int(number[1]), ".".join([*kept, *parts[position + 1 :]])
        tokens = [token for token in re.split(r"_+", part) if token and not _CONTAINER.fullmatch(token.lower())]
        kept += ["_".join(tokens)] if tokens else []
    return side, None, parts[-1]


def block_of(rest: str) -> tuple[str, str] | None:
    """Split a path in a layer into attention block and projection: "attn.w_q", "cross_q", "q"."""
    parts = rest.split(".")
    at = next((i for i, part in enumerate(parts) if _ATTENTION.search(part.lower())), None)
    if at is not None and at + 1 < len(parts):
        return ".".join(parts[: at + 1]), ".".join(parts[at + 1 :])
    named = _PROJECTION.fullmatch(rest.lower())
    if named and (at is not None or not re.search(r"ff|feed|mlp|fc", rest.lower())):
        start = named.start("role")
        return rest[:start].strip("._"), rest[start:]
    return (rest, "") if at is not None else None


def kinds_of(blocks: list[str], expected: int, prefix: str) -> dict[str, str]:
    """Decide which attention of a layer is self-attention and which reads the encoder."""
    if len(blocks) != expected:
        raise Unmapped(
            f"{prefix}: {len(blocks)} attention blocks instead of {expected} ({', '.join(blocks) or 'none'})"
        )
    if expected == 1:
        return {blocks[0]: "self"}
    cross = [b for b in blocks if _CROSS.search(b.lower()) and not _SELF.search(b.lower())]
    second = cross[0] if len(cross) == 1 else blocks[1]
    first = next(b for b in blocks if b != second)
    return {first: "self", second: "cross"}


def role_of(rest: str, owner: Owner) -> str:
    """Return query, key, value, output, qkv, kv, or "" if the name does not say."""
    lower = (rest or owner.path.rpartition(".")[2]).lower()
    assert owner.matrix is not None
    rows, columns = owner.matrix.shape
    if _FUSED.search(lower) and "out" not in lower:
        return "qkv"
    if _FUSED_PAIR.search(lower):
        return "kv"
    tokens = [token for token in re.split(r"[._]", lower) if token]
    for role, known in _ROLES.items():
        if known & set(tokens):
            return role
    number = next((int(token) for token in tokens if token.isdigit()), None)
    if number is not None and number < 4 and "linear" in lower and "head" not in lower:
        return ("query", "key", "value", "output")[number]
    if rows == 3 * columns:
        return "qkv"
    return ""
