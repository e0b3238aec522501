"""Sums of masked updates (Bonawitz et al., 2017; Bell et al., 2020)."""
