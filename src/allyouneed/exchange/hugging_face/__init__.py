"""Marian models in the format of Hugging Face's transformers."""
