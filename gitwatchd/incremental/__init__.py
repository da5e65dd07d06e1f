"""Exact status from what changed (level L1): the parsed index, the changed paths, git's own rules. Never a guess."""
