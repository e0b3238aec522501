"""Command-line flags: thin skins over `tff_vision.configs`.

Write `from flags import data_flags`, never `import flags`: the name is also absl's.
"""
