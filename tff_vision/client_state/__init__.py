"""State that a client keeps from one of its rounds to the next: control variates, drift terms, errors, heads."""
