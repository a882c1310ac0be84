"""One file per interest module; none imports another."""
