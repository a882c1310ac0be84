"""Modules for one device: towers, interests, losses."""
