"""A trained run becomes a release (torch is needed for the towers of trained runs)."""
