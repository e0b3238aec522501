"""Aggregation of client updates as stacked TFF factories."""
