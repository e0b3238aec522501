"""From a data config to federated images: source, then partition."""

import gzip
import pathlib

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images


def build(config: configs.DataConfig, *, seed: int) -> images.FederatedImages:
  """Loads a data set and spreads it over clients."""
  train, test, names = _digits(seed) if config.dataset == 'digits' else _fashion()
  k = config.num_clients or 10
  rng = np.random.default_rng(seeds.derive(seed, 'partition'))
  if config.partition == 'iid':
    proportions = np.full((len(names), k), 1 / k)
  else:
    proportions = rng.dirichlet([config.partition_alpha] * k, size=len(names))
  split = lambda y: [np.concatenate(parts) for parts in zip(*(
      np.split(rng.permutation(np.flatnonzero(y == c)),
               (np.cumsum(proportions[c])[:-1] * (y == c).sum()).astype(int)) for c in range(len(names))), strict=True)]
  train_indices, test_indices = split(train.y), split(test.y)
  return images.FederatedImages(
      name=config.dataset, class_names=names,
      train=images.ArrayClients(train, train_indices, [f'client_{i}' for i in range(k)]),
      test=images.HeldOut(examples=test, clients=test_indices))


def _digits(seed):
  from sklearn import datasets
  x, y = datasets.load_digits(return_X_y=True)
  x = np.round(x.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  order = np.random.default_rng(seeds.derive(seed, 'test split')).permutation(len(y))
  full = images.Examples(x, y.astype(np.int32))
  return full.take(order[360:]), full.take(order[:360]), [str(c) for c in range(10)]


def _fashion():
  folder = pathlib.Path('/usr/share/datasets/fashion-mnist')
  read = lambda name, skip: np.frombuffer(gzip.open(folder / f'{name}.gz').read()[skip:], np.uint8)
  pair = lambda part: images.Examples(read(f'{part}-images-idx3-ubyte', 16).reshape(-1, 28, 28, 1),
                                      read(f'{part}-labels-idx1-ubyte', 8).astype(np.int32))
  return pair('train'), pair('t10k'), [str(c) for c in range(10)]
