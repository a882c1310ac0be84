"""Histories, held-out users and training examples as rectangular arrays."""
