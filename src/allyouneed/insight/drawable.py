"""Results that a notebook displays as a static picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import insight
from allyouneed.errors import UserError

if TYPE_CHECKING:
    from allyouneed.insight.figures import Picture


class Drawable:
    """A result that `figures.draw` can draw."""

    def picture(self) -> Picture:
        """Draw the result with the default settings; `insight.figures` has functions with more settings.

        Raises:
            UserError: If matplotlib is not installed.
        """
        return insight.figures.draw(self)

    def _repr_png_(self) -> bytes | None:
        try:
            return self.picture().png()
        except UserError:  # without matplotlib, a notebook shows the other representations
            return None
