"""The logs of a service: what it served and what users did, written as it happens and kept as Parquet."""
