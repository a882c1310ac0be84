"""Recommendations for all users of a release: in shards, by several processes or by a Spark cluster."""
