"""Lists the data sets on this machine, without a network and without TensorFlow."""

from tff_vision import configs, plugins
from tff_vision.data.sources import registry


def report(data_dir: str | None = None) -> list[tuple[str, bool, str]]:
  """Returns (name, whether it is on this machine, where it is or how to get it) of every source, in order of names."""
  return [(name, *source.locate(data_dir)) for name, source in sorted(registry.SOURCES.items())]


def require(config: configs.DataConfig) -> None:
  """Fetches a data set that is not on this machine, so that a missing one is reported before TensorFlow is imported.

  Raises:
    ValueError: There is no such data set, or it is missing and cannot be fetched; the message says how to get it.
  """
  if plugins.is_own(config.dataset, registry.SOURCES):
    return
  source = registry.find(config.dataset)
  here, _ = source.locate(config.data_dir)
  if not here:
    source.load(config)
