"""Linear models of items that the same users engage with: closed form, no torch."""
