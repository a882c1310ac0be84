"""Linear models of items that the same users engage with, without torch."""
