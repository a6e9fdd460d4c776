"""Logits to loss to weights: section 5 of the paper."""
