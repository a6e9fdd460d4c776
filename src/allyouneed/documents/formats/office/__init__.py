"""Office documents and e-books: ZIP containers of XML."""
