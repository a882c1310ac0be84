"""The commands of the add-on; nothing heavy is imported before one runs."""
