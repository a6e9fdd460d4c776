"""Measurements used by the benchmark scripts."""
