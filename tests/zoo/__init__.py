"""Repositories in every state, random operations over them, the judge, and a real daemon to ask."""
