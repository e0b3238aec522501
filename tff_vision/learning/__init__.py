"""Federated learning processes and evaluation."""
