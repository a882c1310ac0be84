"""Estimate the resources of a service of a given size from measured unit costs. No data is read."""
