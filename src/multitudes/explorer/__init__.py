"""The explorer: a page on which a person sees users' interests, and tries what changes their candidates."""
