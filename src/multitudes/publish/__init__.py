"""A trained run becomes a release (needs torch)."""
