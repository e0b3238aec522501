"""Federated algorithms: one module for each paper, or for papers that share their client work."""
