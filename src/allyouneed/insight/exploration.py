"""The explorer of one sentence as a Python object, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from allyouneed.insight.drawable import Drawable
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import Showable
from allyouneed.insight.variants.switches import Switches
from allyouneed.insight.view import AttentionView
from allyouneed.model.probe import KINDS
from allyouneed.translation.translator import Translator


class Explorer(Showable, Drawable):
    """The explorer of one sentence; a notebook displays it, `save` writes the page to a file.

    Attributes:
        attention: Attention weights of the unchanged model.
    """

    def __init__(self, data: dict[str, Any], attention: AttentionView):
        self._data, self.attention = data, attention

    def data(self) -> dict[str, Any]:
        """Return the data of the page, see `explorer.py`."""
        return self._data

    def view(self) -> AttentionView:
        """Return the attention weights of the unchanged model."""
        return self.attention


def explore(
    translator: Translator, text: str, translation: str | None = None, switches: Iterable[Switches] | None = None
) -> Explorer:
    """Compute the explorer of one sentence, as `allyouneed look --html` does.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Translation to examine; None for the model's own.
        switches: Variants to include; None for all variants with one change, [] for none, which is faster.

    Returns:
        The explorer.

    Raises:
        UserError: If the text is empty, or a side is too long.
    """
    data = explorer_data(translator, text, switches, translation)
    attention = translator.look(text, data["translation"], stages=False)
    arrays = {kind: getattr(attention, kind) for kind in KINDS}
    return Explorer(data, AttentionView(arrays, attention.source_tokens, attention.target_inputs))
