"""Every data set by name."""

import dataclasses
from collections.abc import Callable, Mapping

from tff_vision import configs, validate
from tff_vision.data import embedded, mnist_like, pool, tff_sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """One data set.

  Attributes:
    about: One line: what it shows, how many classes and clients.
    load: Reads, and if need be fetches, all of it.
    locate: Given `data_dir`, says without network or TensorFlow whether the data is on this machine, and where,
      or how to get it.
  """
  about: str
  load: Callable[[configs.DataConfig], pool.Pool]
  locate: Callable[[str | None], tuple[bool, str]]


SOURCES: Mapping[str, Source] = {
    'digits': Source(about='1,797 handwritten digits of 8x8, 10 classes, no clients of its own',
                     load=embedded.load, locate=embedded.locate),
    'emnist': Source(about='handwritten characters of 28x28 by 3,400 writers, 62 classes',
                     load=tff_sets.load_emnist, locate=tff_sets.locate_emnist),
    'emnist_digits': Source(about='handwritten digits of 28x28 by 3,383 writers, 10 classes',
                            load=tff_sets.load_emnist_digits, locate=tff_sets.locate_emnist),
    'fashion_mnist': Source(about='70,000 articles of clothing of 28x28, 10 classes, no clients of its own',
                            load=mnist_like.load_fashion_mnist, locate=mnist_like.locate_fashion_mnist),
    'kmnist': Source(about='70,000 cursive Japanese characters of 28x28, 10 classes, no clients of its own',
                     load=mnist_like.load_kmnist, locate=mnist_like.locate_kmnist),
    'mnist': Source(about='70,000 handwritten digits of 28x28, 10 classes, no clients of its own',
                    load=mnist_like.load_mnist, locate=mnist_like.locate_mnist),
    'idx': Source(about='any folder of IDX files: --data_dir', load=mnist_like.load_idx,
                  locate=mnist_like.locate_idx),
}


def find(name: str) -> Source:
  """Returns the source called `name`.

  Raises:
    ValueError: There is none.
  """
  validate.one_of(SOURCES, dataset=name)
  return SOURCES[name]
