"""Canaries: artificial records that are added to a run to measure how much its result reveals about one record.

An independent coin decides for each canary whether it is in the data. The contribution of a canary is public: random
signs on its own subset of the model's weights, with the clip norm as its norm. No other canary uses this subset. So
canaries are orthogonal to each other, and nearly orthogonal to the learned update.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_SEED = (2305, 8846)  # The signs are public.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canaries:
  """The canaries of one run.

  Attributes:
    first: The client number of the first canary; canaries come after all other clients.
    included: For each canary, whether it is in the data. This must stay secret until the run ends.
  """
  first: int
  included: tuple[bool, ...] = dataclasses.field(repr=False)

  @classmethod
  def tossed(cls, number: int, *, first: int, secret: bytes) -> 'Canaries':
    """Returns canaries drawn by fair, independent coins: a pseudo-random function of the run's secret, from the OS."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b'canaries' + secret).digest(-(-number // 8)), np.uint8))
    return cls(first=first, included=tuple(bool(bit) for bit in bits[:number]))

  @property
  def number(self) -> int:
    return len(self.included)

  @property
  def absent(self) -> frozenset[int]:
    """The canary clients that are not in the data."""
    return frozenset(self.first + canary for canary, there in enumerate(self.included) if not there)


def of_client(client: int, *, clients: int, canaries: int) -> range:
  """Returns the canaries that are examples of a client; canaries are divided about equally among clients."""
  return range(client, canaries, clients)


def require_room(size: int, canaries: int) -> None:
  """Raises ValueError if a model has too few weights to give each canary its own weights."""
  if size < canaries:
    raise ValueError(f'audit_canaries={canaries} exceeds the {size} weights that are trained: each canary needs one of '
                     'its own at least; lower audit_canaries.')


def crafted(shapes: Sequence[tuple[int, ...]], norms: tf.Tensor) -> list[tf.Tensor]:
  """Returns the sum of the canaries' contributions, float64 tensors of these shapes; runs anywhere.

  Args:
    norms: [canaries], the norm of each canary's contribution; 0 if it does not contribute.
  """
  sizes = [math.prod(shape) for shape in shapes]
  total, number = sum(sizes), norms.shape[0]
  weights = tf.constant(1 / np.sqrt(_shares(total, number)))
  each = tf.gather(tf.cast(norms, tf.float64) * weights, tf.range(total) % number)
  flat = tf.cast(_signs(total), tf.float64) * each
  return [tf.reshape(part, shape) for part, shape in zip(tf.split(flat, sizes), shapes, strict=True)]


def signs(total: int) -> np.ndarray:
  """Returns the sign of each weight, [total] of +1 and -1."""
  return np.asarray(_signs(total))


def by_canary(values: np.ndarray, canaries: int) -> np.ndarray:
  """Returns [canaries]: for each canary, the sum of `values` over its own weights; one value for each weight."""
  padded = np.pad(np.asarray(values, np.float64), (0, -len(values) % canaries))
  return padded.reshape(-1, canaries).sum(0)


def projections(vector: np.ndarray, canaries: int) -> np.ndarray:
  """Returns [canaries] float64, the projection of a flat vector onto each canary's direction."""
  return by_canary(vector * signs(len(vector)), canaries) / np.sqrt(_shares(len(vector), canaries))


def _shares(total, canaries):
  """Returns the number of weights of each canary: the weights whose position modulo `canaries` is its number."""
  return np.array([-(-(total - canary) // canaries) for canary in range(canaries)], np.float64)


def _signs(total):
  return 2 * tf.random.stateless_uniform([total], seed=_SEED, minval=0, maxval=2, dtype=tf.int32, alg='philox') - 1
