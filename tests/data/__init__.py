"""The floor of the tables: reading, judging, splitting, writing, planting."""
