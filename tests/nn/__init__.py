"""Tests of multitudes.nn."""
