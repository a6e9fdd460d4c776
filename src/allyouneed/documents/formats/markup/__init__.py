"""HTML and XML, read without loss."""
