"""Data sets that are drawn, not downloaded: realistic enough to learn from, with clients of their own."""
