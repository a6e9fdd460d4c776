"""Activation patching between two passes, and the comparison of two models."""
