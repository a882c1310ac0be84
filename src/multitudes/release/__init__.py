"""How a model, its index and its vocabulary lie on disk together and are loaded. No torch."""
