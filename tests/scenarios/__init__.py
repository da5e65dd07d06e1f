"""What happens to repositories and to the daemon, end to end: the real daemon, the real command, real git."""
