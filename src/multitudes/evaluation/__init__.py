"""The offline protocol: all items are ranked, all systems have the same budget, figures have intervals."""
