"""A worker's side: the executor, its sandbox, and the way in."""
