"""The guard in front of a worker's executor: passes on what its owner approved, and nothing else."""
