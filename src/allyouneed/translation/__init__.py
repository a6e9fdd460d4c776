"""A bundle and text in, text out: section 6.1 of the paper."""
