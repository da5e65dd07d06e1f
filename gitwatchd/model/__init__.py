"""What the program talks about: repositories, reports, outcomes. Pure data, no I/O, imports nothing of ours."""
