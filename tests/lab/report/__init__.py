"""Tests of its reports."""
