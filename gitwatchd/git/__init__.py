"""Everything that knows git: running it, reading its files, its rules. No state, no threads."""
