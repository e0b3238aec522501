"""Clients of generated images that are drawn when they are read, so that any number of them takes no memory.

    python -m pipelines.train --dataset=benchmarks.generated_clients:images --num_clients=100000 --model=linear

Each client has 20 images of 28x28 in ten classes: the class's own random picture under noise.
"""

import dataclasses
import functools

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images as images_lib
from tff_vision.data import pieces

EXAMPLES = 20
_CLASSES, _SIDE, _CLIENTS, _TEST = 10, 28, 1000, 1000
_NOISE = 60


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class GeneratedClients(images_lib.ClientImages):
  """Clients whose examples are a function of their number."""
  count: int

  @functools.cached_property
  def client_ids(self) -> pieces.Names:
    return pieces.Names.numbered('client_', self.count)

  def num_examples(self, client: int) -> int:
    return EXAMPLES

  def examples(self, client: int) -> images_lib.Examples:
    return drawn(EXAMPLES, 'client', int(client))


def images(config: configs.DataConfig) -> images_lib.FederatedImages:
  """Returns `config.num_clients` clients and a test set that belongs to no client."""
  train = GeneratedClients(config.num_clients or _CLIENTS)
  test = images_lib.HeldOut(examples=drawn(_TEST, 'test'), clients=pieces.Pieces.nothing(len(train)))
  return images_lib.FederatedImages(name='generated_clients', train=train, test=test,
                                    class_names=tuple(map(str, range(_CLASSES))))


def drawn(number: int, *use: str | int) -> images_lib.Examples:
  """Draws `number` images with their classes; `use` names them."""
  rng = np.random.default_rng(seeds.derive(0, 'generated clients', *use))
  y = rng.integers(0, _CLASSES, number, np.int32)
  noise = rng.integers(-_NOISE, _NOISE + 1, (number, _SIDE, _SIDE, 1), np.int16)
  return images_lib.Examples(np.clip(_pictures()[y] + noise, 0, 255).astype(np.uint8), y)


@functools.cache
def _pictures():
  rng = np.random.default_rng(seeds.derive(0, 'generated clients', 'pictures'))
  return rng.integers(0, 256, (_CLASSES, _SIDE, _SIDE, 1), np.int16)
