"""A film of your own: what models predict for it, how far to believe them, what is in it."""
