"""Train models: one loop turns examples into weights."""
