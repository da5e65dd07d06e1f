"""A repository's whole status by asking git itself (level L3), here or in worker processes."""
