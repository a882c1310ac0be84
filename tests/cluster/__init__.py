"""Tests with several processes: `make test-cluster`."""
