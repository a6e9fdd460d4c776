"""Messages of programs and translation memories: catalogues, resources, XLIFF, TMX."""
