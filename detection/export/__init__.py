"""A trained detector as one graph for other runtimes."""
