"""What the user writes in `config.toml`: its meaning, its syntax, and when it is read again."""
