"""Tables in: reading, checking, splitting, numbering; the planted world."""
