"""Real shells in tmux, beside a real daemon."""
