"""Tests of publishing: what the model says is what the release serves."""
