"""A person's own files become the canonical tables: what is in them is guessed, shown, and can be changed."""
