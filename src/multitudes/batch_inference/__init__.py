"""Everybody is answered: in shards, by processes of this machine or of a cluster, each user once."""
