"""Documents: FILES -> SEGMENTS -> FILES. One reader and writer per format; text is translated, everything else kept."""
