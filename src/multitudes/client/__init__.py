"""A typed client of the service; it knows ids and errors, and nothing of how an answer is made."""
