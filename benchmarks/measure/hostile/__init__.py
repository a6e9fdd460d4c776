"""Damaged and hostile files from other people, by the thousand: see `benchmarks/hostile.py`."""
