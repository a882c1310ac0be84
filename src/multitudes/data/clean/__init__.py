"""Check and repair the tables of a data set, for ``validate`` and ``prepare``."""
