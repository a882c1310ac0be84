"""Reports of experiments: terminal, Markdown, one-file HTML."""
