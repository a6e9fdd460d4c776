"""Text with little markup: plain text, Markdown, subtitles, tables, JSON."""
