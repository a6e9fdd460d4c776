"""Figures 1 to 5, from a trained model."""
