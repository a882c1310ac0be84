"""Data sets: read, check, split and number tables; generate data with known tastes."""
