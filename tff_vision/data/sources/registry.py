"""Every data set by name; the catalogue lists them."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping

from tff_vision import catalogue, configs
from tff_vision.configs import validate
from tff_vision.data.sources import pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """One data set.

  Attributes:
    about: One line: what the images show, how many classes and clients.
    load: Reads the whole data set, and fetches it if necessary.
    locate: Given `data_dir`, returns without network or TensorFlow whether the data is on this machine, and where it
      is or how to get it.
  """
  about: str
  load: Callable[[configs.DataConfig], pool.Pool]
  locate: Callable[[str | None], tuple[bool, str]]


class _Sources(Mapping[str, Source]):
  """Sources that are created when they are requested: only then is the data set's module imported."""

  def __getitem__(self, name):
    row = catalogue.row('dataset', name)
    locate = catalogue.load(row.locates)
    # Imported when it loads: where the data is can be said without TensorFlow, which a plan's images need.
    load = lambda *arguments: catalogue.load(row.loads)(*arguments)
    if row.argument:
      load, locate = functools.partial(load, row.argument), functools.partial(locate, row.argument)
    return Source(about=row.about, load=load, locate=locate)

  def __iter__(self):
    return iter(catalogue.names('dataset'))

  def __len__(self):
    return len(catalogue.names('dataset'))


SOURCES: Mapping[str, Source] = _Sources()


def find(name: str) -> Source:
  """Returns the source called `name`.

  Raises:
    ValueError: There is no such source.
  """
  if os.sep in name:
    raise ValueError(f'dataset={name} is a path. Images of your own: --dataset=folder --data_dir={name}.')
  validate.one_of_or_own(SOURCES, dataset=name)
  return SOURCES[name]
