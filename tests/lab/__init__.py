"""The add-on multitudes-lab."""
