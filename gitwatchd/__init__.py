"""The gitwatchd daemon. Importing this package imports nothing else: the client's start-up counts on it."""

__version__ = "0.1.0"
