"""Daily training: going on, training anew and doing nothing, judged each by the day that follows (``__main__``)."""
