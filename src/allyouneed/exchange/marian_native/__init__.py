"""Marian's own files: `model.npz` and `.bin`, vocabularies and decoder settings."""
