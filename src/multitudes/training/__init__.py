"""Examples become weights: one loop."""
