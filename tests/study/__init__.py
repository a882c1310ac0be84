"""Studies of small worlds."""
