"""The systems that `benchmarks.simulation` compares, each a script that runs in an environment of its own."""
