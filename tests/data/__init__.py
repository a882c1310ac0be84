"""Tests of reading, checking, splitting, writing and generating tables."""
