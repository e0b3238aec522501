"""Pages, figures and numbers that a run leaves for people."""
