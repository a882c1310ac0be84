"""What was served and what came of it: written down as it happens, kept as Parquet, so that training learns from it."""
