"""Models of Joey NMT."""
