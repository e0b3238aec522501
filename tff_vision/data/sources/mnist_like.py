"""The MNIST family (28x28 grey, IDX files) and any other folder of IDX files.

A set is taken from the first of these places that has it: the IDX files in `data_dir`, or, if `data_dir` is not given,
those of the operating system or of Keras's cache; Keras's `mnist.npz`; the TFDS builder.
"""

import dataclasses
import functools
import pathlib
import string
import zipfile

import numpy as np

from tff_vision import configs
from tff_vision.data import images
from tff_vision.data.sources import arrays, fetch, idx, pool, tfds_sets

KERAS_CACHE = pathlib.Path('~/.keras/datasets')
_SPLITS = ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MnistLike:
  """One member of the family.

  Attributes:
    class_names: In label order.
    folders: Folders other than `data_dir` where its IDX files may be.
    keras_file: Its file name in Keras's cache, if this is an .npz.
    sideways: Whether height and width must be exchanged.
    tfds: The TFDS builder that makes the set.
    mean: Mean of all training pixels in 0..1.
    std: Standard deviation of all training pixels in 0..1.
  """
  class_names: tuple[str, ...]
  tfds: tfds_sets.TfdsSet
  folders: tuple[pathlib.Path, ...] = ()
  keras_file: str | None = None
  mean: float
  std: float
  sideways: bool = False


def _idx_archives(url, facts):
  return tuple(fetch.RemoteFile(url=f'{url}/{name}.gz', name=f'{name}.gz', size=size, digest=f'sha256:{digest}')
               for name, (size, digest) in zip(_SPLITS, facts, strict=True))


MNIST = MnistLike(
    class_names=tuple('0123456789'), mean=0.1307, std=0.3081, keras_file='mnist.npz',
    tfds=tfds_sets.TfdsSet(builder='mnist', archives=_idx_archives(
        'https://storage.googleapis.com/cvdf-datasets/mnist',
        ((9912422, '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609'),
         (28881, '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c'),
         (1648877, '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6'),
         (4542, 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6')))))
FASHION_MNIST = MnistLike(
    class_names=('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag',
                 'Ankle boot'),
    mean=0.2860, std=0.3530,
    folders=(pathlib.Path('/usr/share/datasets/fashion-mnist'), KERAS_CACHE / 'fashion-mnist'),
    tfds=tfds_sets.TfdsSet(builder='fashion_mnist', archives=_idx_archives(
        'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com',
        ((26421880, '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84'),
         (29515, 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845'),
         (4422102, '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073'),
         (5148, '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5'))),
        hint='On Debian and its relatives, «apt install dataset-fashion-mnist» is enough.'))
KMNIST = MnistLike(
    class_names=('o', 'ki', 'su', 'tsu', 'na', 'ha', 'ma', 'ya', 're', 'wo'), mean=0.1918, std=0.3483,
    tfds=tfds_sets.TfdsSet(builder='kmnist', archives=_idx_archives(
        'http://codh.rois.ac.jp/kmnist/dataset/kmnist',
        ((18165135, '51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4'),
         (29497, 'e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17'),
         (3041136, 'edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5'),
         (5120, '20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c')))))


# The balanced split of EMNIST (Cohen et al. 2017, arXiv:1702.05373): upper and lower case of 15 letters look similar
# and are one class. Height and width of its images are exchanged.
EMNIST_BALANCED = MnistLike(
    class_names=tuple(string.digits + string.ascii_uppercase + 'abdefghnqrt'), mean=0.1751, std=0.3332, sideways=True,
    tfds=tfds_sets.TfdsSet(builder='emnist/balanced', archives=(fetch.RemoteFile(
        url='https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip', name='gzip.zip', size=561753746,
        digest='sha256:fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e',
        instead='--dataset=synthetic_emnist'),)))


def load(config: configs.DataConfig, *, family: MnistLike) -> pool.Pool:
  """Returns one member of the family.

  Raises:
    ValueError: The set is not on this machine and cannot be fetched, or a file is corrupt.
  """
  for folder in _folders(config.data_dir, family):
    if idx.find(folder, _SPLITS[0]):
      train, test = idx.read_split(folder, 'train'), idx.read_split(folder, 't10k')
      break
  else:
    if (path := _keras_path(config.data_dir, family)) is not None:
      train, test = _read_keras(path)
    else:
      train, test = tfds_sets.load(family.tfds, config.data_dir)
  if family.sideways:
    train, test = (images.Examples(part.x.transpose(0, 2, 1, 3), part.y) for part in (train, test))
  return pool.Pool(train=train, test=test, class_names=family.class_names,
                   preprocessing=images.Preprocessing(mean=(family.mean,), std=(family.std,)))


def locate(data_dir: str | None, *, family: MnistLike) -> tuple[bool, str]:
  """Returns whether the set is here, and where or how to get it."""
  for folder in _folders(data_dir, family):
    if all(idx.find(folder, name) for name in _SPLITS):
      return True, str(folder)
  if (path := _keras_path(data_dir, family)) is not None:
    return True, str(path)
  return tfds_sets.locate(family.tfds, data_dir)


def load_idx(config: configs.DataConfig) -> pool.Pool:
  """Returns the data in four IDX files of `config.data_dir`: {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz].

  Class names are the class numbers.

  Raises:
    ValueError: data_dir is not given, or a file in it is missing or corrupt.
  """
  if config.data_dir is None:
    raise ValueError('dataset=idx needs data_dir, the folder with the files train-images-idx3-ubyte and so on.')
  folder = pathlib.Path(config.data_dir).expanduser()
  train, test = idx.read_split(folder, 'train'), idx.read_split(folder, 't10k')
  classes = 1 + max(int(split.y.max(initial=0)) for split in (train, test))
  digest = arrays.digest_of({'x': train.x, 'y': train.y, 'x_test': test.x, 'y_test': test.y})
  pixels, stored, notes = arrays.as_images({'training images': train.x, 'test images': test.x}, str(folder),
                                           config.numeric_pixel_range)
  train, test = (images.Examples(x, split.y) for x, split in zip(pixels, (train, test), strict=True))
  return pool.Pool(train=train, test=test, class_names=tuple(str(number) for number in range(classes)), stored=stored,
                   digest=digest, notes=notes)


def locate_idx(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` contains IDX files."""
  if data_dir is not None and idx.find(pathlib.Path(data_dir).expanduser(), _SPLITS[0]):
    return True, data_dir
  return False, 'your own IDX files: --dataset=idx --data_dir=FOLDER'


def _folders(data_dir, family):
  if data_dir is not None:
    folder = pathlib.Path(data_dir).expanduser()
    return (folder, folder / family.tfds.builder)
  return tuple(folder.expanduser() for folder in family.folders)


def _keras_path(data_dir, family):
  if family.keras_file is None:
    return None
  path = pathlib.Path(data_dir or KERAS_CACHE).expanduser() / family.keras_file
  return path if path.is_file() else None


def _read_keras(path):
  try:
    with np.load(path, allow_pickle=False) as found:
      return tuple(images.Examples(found[f'x_{split}'][..., np.newaxis], found[f'y_{split}'].astype(np.int32))
                   for split in ('train', 'test'))
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'{path} is not the mnist.npz of Keras ({error}).') from error


load_mnist = functools.partial(load, family=MNIST)
load_fashion_mnist = functools.partial(load, family=FASHION_MNIST)
load_kmnist = functools.partial(load, family=KMNIST)
load_emnist_balanced = functools.partial(load, family=EMNIST_BALANCED)
locate_emnist_balanced = functools.partial(locate, family=EMNIST_BALANCED)
locate_mnist = functools.partial(locate, family=MNIST)
locate_fashion_mnist = functools.partial(locate, family=FASHION_MNIST)
locate_kmnist = functools.partial(locate, family=KMNIST)
