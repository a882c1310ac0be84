"""Tests of what a service of some size needs."""
