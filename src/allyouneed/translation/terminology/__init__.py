"""Terminology: glossaries, their files, and the search for their terms in sentences."""
