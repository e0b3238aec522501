"""Every data set by name."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from tff_vision import configs
from tff_vision.configs import validate
from tff_vision.data.generators import cache, chest, parts, shapes, signers, writers
from tff_vision.data.sources import arrays, cifar, embedded, folders, medmnist, mnist_like, pool, tff_sets


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
    'cifar10': Source(about='60,000 photographs of 32x32x3, 10 classes, no clients of its own',
                      load=cifar.load_cifar10, locate=cifar.locate_cifar10),
    'cifar100': Source(about='60,000 photographs of 32x32x3, 100 classes; 500 clients with partition=natural',
                       load=cifar.load_cifar100, locate=cifar.locate_cifar100),
    'digits': Source(about='1,797 handwritten digits of 8x8, 10 classes, no clients of its own',
                     load=embedded.load, locate=embedded.locate),
    'emnist': Source(about='handwritten characters of 28x28 by 3,400 writers, 62 classes',
                     load=tff_sets.load_emnist, locate=tff_sets.locate_emnist),
    'emnist_balanced': Source(about='131,600 handwritten characters of 28x28, 47 classes, no clients of its own',
                              load=mnist_like.load_emnist_balanced, locate=mnist_like.locate_emnist_balanced),
    'emnist_digits': Source(about='handwritten digits of 28x28 by 3,383 writers, 10 classes',
                            load=tff_sets.load_emnist_digits, locate=tff_sets.locate_emnist),
    'fashion_mnist': Source(about='70,000 articles of clothing of 28x28, 10 classes, no clients of its own',
                            load=mnist_like.load_fashion_mnist, locate=mnist_like.locate_fashion_mnist),
    'folder': Source(about='your own image files, in folders or in a manifest: --data_dir',
                     load=folders.load, locate=folders.locate),
    'idx': Source(about='your own IDX files: --data_dir', load=mnist_like.load_idx, locate=mnist_like.locate_idx),
    'kmnist': Source(about='70,000 cursive Japanese characters of 28x28, 10 classes, no clients of its own',
                     load=mnist_like.load_kmnist, locate=mnist_like.locate_kmnist),
    'medical_mnist': Source(about='58,954 radiographs of 64x64, 6 classes, no clients of its own: --data_dir',
                            load=folders.load_medical_mnist, locate=folders.locate_medical_mnist),
    'mnist': Source(about='70,000 handwritten digits of 28x28, 10 classes, no clients of its own',
                    load=mnist_like.load_mnist, locate=mnist_like.locate_mnist),
    'npz': Source(about='your own arrays in an .npz file: --data_dir', load=arrays.load, locate=arrays.locate),
    'synthetic_chest': Source(about='3,700 generated chest films of 28x28 or 64x64 from 3 hospitals, normal or '
                              'abnormal',
                              load=chest.load, locate=cache.locate),
    'synthetic_chest:findings': Source(about='the same films with 4 findings, multi-label',
                                       load=chest.load_findings, locate=cache.locate),
    'synthetic_chest:large': Source(about='11,200 such films, normal or abnormal: four times as many for training',
                                    load=chest.load_large, locate=cache.locate),
    'synthetic_emnist': Source(about='generated handwritten characters of 28x28 by any number of writers, 62 classes',
                               load=writers.load, locate=cache.locate),
    'synthetic_emnist:writers': Source(about='samples of 56x56 in generated hands, whose classes are the writers, at '
                                       '24 offices', load=signers.load, locate=cache.locate),
    'synthetic_parts': Source(about='2,670 generated machined parts of 32x32 from 8 factories, good and with 5 defects',
                              load=parts.load, locate=cache.locate),
    'synthetic_shapes': Source(about='7,000 generated colour shapes of 32x32x3, 10 classes, no clients of its own',
                               load=shapes.load, locate=cache.locate),
    **{f'medmnist:{flag}': Source(about=medmnist.about(flag), load=medmnist.loader(flag), locate=medmnist.locator(flag))
       for flag in medmnist.SETS},
}


def find(name: str) -> Source:
  """Returns the source called `name`.

  Raises:
    ValueError: There is none.
  """
  if os.sep in name:
    raise ValueError(f'dataset={name} is a path. Images of your own: --dataset=folder --data_dir={name}.')
  validate.one_of_or_own(SOURCES, dataset=name)
  return SOURCES[name]
