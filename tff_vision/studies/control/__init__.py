"""Reinforcement learning over clients: every client plays in an environment of its own, and policies are averaged."""
