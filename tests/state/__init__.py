"""Tests of the users' state."""
