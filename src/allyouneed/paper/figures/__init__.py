"""Figures 1 to 5, drawn from a trained model."""
