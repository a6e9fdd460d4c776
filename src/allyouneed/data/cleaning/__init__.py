"""Cleaning of parallel text: named checks that repair or drop sentence pairs, each with a reason."""
