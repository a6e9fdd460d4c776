"""Reading of parallel text from files: compression, encoding, lines, tables, and other kinds by name."""
