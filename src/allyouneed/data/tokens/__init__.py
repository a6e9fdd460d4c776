"""Subword tokenizers: training, vocabularies, models of the user's own, and sampling."""
