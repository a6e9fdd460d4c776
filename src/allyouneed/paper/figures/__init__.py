"""Figures 1 to 5, drawn from a trained model."""

from allyouneed.paper import plots as plots  # raises `UserError` without matplotlib, before other modules import it
