"""Canaries: records that no person stands for, put into a run so that its end shows what can be told about one.

Whether a canary is in the data is decided by a coin of its own. What it adds is known to everybody: random signs on a
share of the model's weights that no other canary has, of the norm that the mechanism clips to. So canaries are
orthogonal to each other, and nearly so to whatever is learned.
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
  """Those of one run.

  Attributes:
    first: The number of the first canary that is a client; canaries come after all others.
    included: Of each whether it is in the data. Nobody may know before the end.
  """
  first: int
  included: tuple[bool, ...] = dataclasses.field(repr=False)

  @classmethod
  def tossed(cls, number: int, *, first: int, secret: bytes) -> 'Canaries':
    """Returns canaries by fair and independent coins: a pseudo-random function of the run's secret, from the OS."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b'canaries' + secret).digest(-(-number // 8)), np.uint8))
    return cls(first=first, included=tuple(bool(bit) for bit in bits[:number]))

  @property
  def number(self) -> int:
    return len(self.included)

  @property
  def absent(self) -> frozenset[int]:
    """The clients that are not in the data."""
    return frozenset(self.first + canary for canary, there in enumerate(self.included) if not there)


def of_client(client: int, *, clients: int, canaries: int) -> range:
  """Returns the canaries that are examples of a client; each client has about as many."""
  return range(client, canaries, clients)


def require_room(size: int, canaries: int) -> None:
  """Raises ValueError where a model has too few weights for each canary to have some of its own."""
  if size < canaries:
    raise ValueError(f'audit_canaries={canaries} exceeds the {size} weights that are trained: each canary needs one of '
                     'its own at least; lower audit_canaries.')


def crafted(shapes: Sequence[tuple[int, ...]], norms: tf.Tensor) -> list[tf.Tensor]:
  """Returns the sum of canaries' contributions, float64 tensors of these shapes; runs anywhere.

  Args:
    norms: [canaries], the norm with which each contributes, 0 where it does not.
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
  """Returns [canaries], the sums over each canary's own weights of one value for each weight."""
  padded = np.pad(np.asarray(values, np.float64), (0, -len(values) % canaries))
  return padded.reshape(-1, canaries).sum(0)


def projections(vector: np.ndarray, canaries: int) -> np.ndarray:
  """Returns [canaries] float64, the part of a flat vector in each canary's direction."""
  return by_canary(vector * signs(len(vector)), canaries) / np.sqrt(_shares(len(vector), canaries))


def _shares(total, canaries):
  """Returns how many weights each canary has: those whose position leaves its number over."""
  return np.array([-(-(total - canary) // canaries) for canary in range(canaries)], np.float64)


def _signs(total):
  return 2 * tf.random.stateless_uniform([total], seed=_SEED, minval=0, maxval=2, dtype=tf.int32, alg='philox') - 1
