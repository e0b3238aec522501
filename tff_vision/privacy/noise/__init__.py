"""Noise as exact integers, with keys of the operating system, and how it is correlated over rounds."""
