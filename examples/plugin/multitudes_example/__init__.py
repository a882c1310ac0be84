"""A method, a metric and a blend for multitudes."""
