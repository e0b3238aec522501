"""Which data sets are on this machine, answered without a network and without TensorFlow."""

from tff_vision.data import sources


def report(data_dir: str | None = None) -> list[tuple[str, bool, str]]:
  """Returns (name, whether it is here, where it is or how to get it) of every source, by name."""
  return [(name, *source.locate(data_dir)) for name, source in sorted(sources.SOURCES.items())]
