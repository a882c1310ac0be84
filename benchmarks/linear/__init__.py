"""The method ``linear`` beside exact EASE, and beside other libraries on worlds of any size."""

RANK = 64
