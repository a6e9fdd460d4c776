"""Readers of files that are not lines of text: one module for each kind, imported when such a file is read."""
