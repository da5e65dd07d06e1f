"""Decides what to analyse, when, and what answers whom. Pure: no I/O, no clock."""
