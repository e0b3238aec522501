"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): Keras's cached folders, or through the TFDS builder."""

import dataclasses
import functools
import pathlib
import pickle

import numpy as np

from tff_vision import configs
from tff_vision.data import images
from tff_vision.data.sources import cifar_names, fetch, mnist_like, pool, tfds_sets, tff_sets

# Training crops images to 24x24 and mirrors them, then standardizes each image, as in Reddi et al. 2021,
# arXiv:2003.00295, and tff.simulation.baselines.cifar100. The moments are those used by FedJAX and many others.
PREPROCESSING = images.Preprocessing(crop=24, flip=True, pixels='per_image', mean=(0.4914, 0.4822, 0.4465),
                                     std=(0.2023, 0.1994, 0.2010))
_SIDE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cifar:
  """One of the two data sets.

  Attributes:
    class_names: In label order.
    folder: The name that Keras and the authors use for the folder of pickled batches.
    files: The files of the batches of the training set and of the test set.
    label_key: The key of the labels in a batch.
    tfds: The TFDS builder that makes the set.
    coarse_of_fine: [classes] int32 superclass of each class, or None.
  """
  class_names: tuple[str, ...]
  folder: str
  files: tuple[tuple[str, ...], tuple[str, ...]]
  label_key: bytes
  tfds: tfds_sets.TfdsSet
  coarse_of_fine: np.ndarray | None = None


def _archive(name, size, digest):
  return (fetch.RemoteFile(url=f'https://www.cs.toronto.edu/~kriz/{name}', name=name, size=size,
                           digest=f'sha256:{digest}', instead='--dataset=synthetic_shapes'),)


CIFAR10 = Cifar(
    class_names=cifar_names.CIFAR10, folder='cifar-10-batches-py', label_key=b'labels',
    files=(tuple(f'data_batch_{number}' for number in range(1, 6)), ('test_batch',)),
    tfds=tfds_sets.TfdsSet(builder='cifar10', archives=_archive(
        'cifar-10-binary.tar.gz', 170052171, 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd')))
CIFAR100 = Cifar(
    class_names=cifar_names.CIFAR100, folder='cifar-100-python', label_key=b'fine_labels',
    files=(('train',), ('test',)),
    coarse_of_fine=cifar_names.CIFAR100_COARSE_OF_FINE,
    tfds=tfds_sets.TfdsSet(builder='cifar100', archives=_archive(
        'cifar-100-binary.tar.gz', 168513733, '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec')))


def load(config: configs.DataConfig, *, which: Cifar) -> pool.Pool:
  """Returns all images of one set; they have no clients of their own.

  Raises:
    ValueError: The set is not on this machine and cannot be fetched, or a file is corrupt.
  """
  folder = _folder(config.data_dir, which)
  if folder is not None:
    train, test = (_read_batches(folder, names, which.label_key) for names in which.files)
  else:
    train, test = tfds_sets.load(which.tfds, config.data_dir)
  coarse = None if which.coarse_of_fine is None else which.coarse_of_fine[train.y]
  return pool.Pool(train=train, test=test, class_names=which.class_names, coarse_labels=coarse,
                   preprocessing=PREPROCESSING)


def load_cifar100(config: configs.DataConfig) -> pool.Pool:
  """Returns TFF's 500 clients with partition=natural, and otherwise all images of CIFAR-100."""
  if config.partition == 'natural':
    return dataclasses.replace(tff_sets.load_cifar100(config), preprocessing=PREPROCESSING)
  return load(config, which=CIFAR100)


def locate(data_dir: str | None, *, which: Cifar) -> tuple[bool, str]:
  """Returns whether the set is here, and where or how to get it."""
  folder = _folder(data_dir, which)
  return (True, str(folder)) if folder is not None else tfds_sets.locate(which.tfds, data_dir)


def locate_cifar100(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether either form of CIFAR-100 is here, and where or how to get them."""
  federated, by_tff = tff_sets.locate_cifar100(data_dir)
  pooled, by_label = locate(data_dir, which=CIFAR100)
  if federated or pooled:
    return True, '; '.join([f'{by_tff} (partition=natural)'] * federated + [f'{by_label} (other partitions)'] * pooled)
  return False, f'for partition=natural: {by_tff} For other partitions: {by_label}'


load_cifar10 = functools.partial(load, which=CIFAR10)
locate_cifar10 = functools.partial(locate, which=CIFAR10)


def _folder(data_dir, which):
  if data_dir is None:
    candidates = (mnist_like.KERAS_CACHE.expanduser() / which.folder,)
  else:
    given = pathlib.Path(data_dir).expanduser()
    candidates = (given, given / which.folder)
  return next((folder for folder in candidates if (folder / which.files[0][0]).is_file()
               and (folder / which.files[1][0]).is_file()), None)


def _read_batches(folder, names, label_key):
  x, y = [], []
  for name in names:
    path = folder / name
    try:
      with open(path, 'rb') as data:
        batch = _ArraysOnly(data, encoding='bytes').load()
      x.append(np.asarray(batch[b'data'], np.uint8).reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
      y.append(np.asarray(batch[label_key], np.int32))
    except (OSError, EOFError, pickle.UnpicklingError, KeyError, ValueError, TypeError, IndexError) as error:
      raise ValueError(f'{path} is no batch of CIFAR, or it is corrupt ({error}).') from error
  return images.Examples(np.concatenate(x), np.concatenate(y))


class _ArraysOnly(pickle.Unpickler):
  """Reads a pickle of plain values and numpy arrays; a pickle with anything else could run code and is refused."""
  _ALLOWED = {('numpy.core.multiarray', '_reconstruct'), ('numpy', 'ndarray'), ('numpy', 'dtype'),
              ('_codecs', 'encode')}

  def find_class(self, module, name):
    if (module, name) not in self._ALLOWED:
      raise pickle.UnpicklingError(f'it names {module}.{name}')
    return super().find_class(module, name)
