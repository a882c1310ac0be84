"""Recommendations for all users of a release: in shards, by one process or several."""
