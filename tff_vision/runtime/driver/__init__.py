"""The coordinator's side: execution contexts, and the workers that they talk to."""
