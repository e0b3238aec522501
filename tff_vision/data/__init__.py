"""Federated image data: sources, partitions, clients, preprocessing."""
