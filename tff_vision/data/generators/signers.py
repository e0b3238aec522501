"""Generates images of four characters in one hand (56x56x1), for verification of writers.

The handwriting comes from `writers`; each office has several writers. An office is a client and a writer is a class.
Offices that never train have writers that the model has never seen.
"""

import dataclasses
import math

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.generators import cache, glyphs, writers
from tff_vision.data.images import Examples, Preprocessing
from tff_vision.data.sources.pool import Pool

_VERSION = 1
_OFFICES = 24
_WRITERS = 6  # Number of writers at each office.
_SAMPLES = 20  # Number of samples of each writer; a quarter of them are test examples.


def load(config: configs.DataConfig) -> Pool:
  """Returns the offices that `config` asks for; with partition=natural, one third more offices that never train.

  The data does not depend on the run's seed.
  """
  trained = _OFFICES
  if config.partition == 'natural' and config.num_clients is not None:
    trained = config.num_clients
  unseen = math.ceil(trained / 3) if config.held_out_clients is None else config.held_out_clients
  if config.partition != 'natural':
    unseen = 0
  return dataclasses.replace(pool(num_clients=trained + unseen, seed=0, data_dir=config.data_dir),
                             unseen_clients=unseen)


def pool(*, num_clients: int, seed: int, data_dir: str | None = None) -> Pool:
  """Draws the samples of six writers for each of `num_clients` offices. This takes seconds, and is done once.

  Args:
    seed: A writer depends only on it and on the writer's number.
    data_dir: Where to keep the arrays, if not in the cache.
  """
  arrays = cache.load_or_make(f'synthetic_emnist_writers-v{_VERSION}-{num_clients}-s{seed}',
                              lambda: _draw(num_clients, seed), data_dir)
  return Pool(train=Examples(arrays['train_x'], arrays['train_y']), test=Examples(arrays['test_x'], arrays['test_y']),
              class_names=tuple(f'writer_{number:04d}' for number in range(num_clients * _WRITERS)),
              train_owners=arrays['train_owners'], test_owners=arrays['test_owners'],
              preprocessing=Preprocessing(pixels='invert'),
              notes=('synthetic_emnist:writers is drawn from the Hershey fonts (by Dr. A. V. Hershey, U. S. National '
                     'Bureau of Standards); it is not the handwriting of real people.',))


def _draw(num_clients, seed):
  parts = {f'{split}_{what}': [] for split in ('train', 'test') for what in ('x', 'y', 'owners')}
  test = _SAMPLES // 4
  for number in range(num_clients * _WRITERS):
    rng = np.random.default_rng(seeds.derive(seed, 'synthetic_emnist:writers', number))
    style = writers.draw_style(rng)
    written = writers.write(style, rng.integers(0, len(glyphs.CHARACTERS), 4 * _SAMPLES), rng)
    for split, own in (('test', slice(test)), ('train', slice(test, None))):
      samples = _squares(written)[own]
      parts[f'{split}_x'].append(samples)
      parts[f'{split}_y'].append(np.full(len(samples), number, np.int32))
      parts[f'{split}_owners'].append(np.full(len(samples), f'office_{number // _WRITERS:03d}'))
  return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _squares(characters):
  """Joins four characters into one image, two by two: [4 n, 28, 28, 1] -> [n, 56, 56, 1]."""
  side = characters.shape[1]
  rows = characters.reshape(-1, 2, 2, side, side, 1).transpose(0, 1, 3, 2, 4, 5)
  return rows.reshape(-1, 2 * side, 2 * side, 1)
