"""Releases: a model, its index and its vocabularies in one folder, versioned and checksummed. No torch."""
