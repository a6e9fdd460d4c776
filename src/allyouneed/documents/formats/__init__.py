"""Document formats, a module each; see `document.py`."""
