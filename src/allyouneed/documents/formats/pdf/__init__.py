"""PDF documents: their text, as paragraphs."""
