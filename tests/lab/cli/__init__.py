"""The commands of the add-on as a person calls them."""
