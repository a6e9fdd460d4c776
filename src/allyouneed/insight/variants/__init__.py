"""Variants of a model with parts of attention switched off: one sentence, and effects over a set of sentences."""
