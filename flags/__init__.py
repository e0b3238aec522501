"""Command-line flags, derived from the fields of the configs: name, type, default, choices and text stand there.

Write `from flags import data_flags`, never `import flags`: absl has a module of the same name.
"""
