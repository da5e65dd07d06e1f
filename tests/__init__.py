"""A package, so that `tests.zoo` can never be shadowed by another distribution's `tests`."""
