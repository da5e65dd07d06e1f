"""The scenarios of SCENARIOS.md, end to end: the real daemon, the real command, real git."""
