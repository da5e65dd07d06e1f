"""The gitwatch command: a thin client of gitwatchd."""
