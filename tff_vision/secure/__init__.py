"""Encrypted and masked sums as TFF aggregation factories."""
