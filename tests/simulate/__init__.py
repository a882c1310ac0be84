"""Simulated online tests."""
