"""Inspection of a corpus as a whole, before training on it."""
