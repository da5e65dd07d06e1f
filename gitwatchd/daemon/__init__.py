"""Puts the parts together: start, event loop, stop."""
