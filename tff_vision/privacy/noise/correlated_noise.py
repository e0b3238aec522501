"""Correlated noise: the noise of a round as a function of white noise and a few server-side buffers.

A stream turns white noise z_1, z_2, ... into e_1, e_2, ... one round at a time; each tensor of the model has its own
stream. The buffers hold past noise. A reader of the buffers can subtract this noise, so a checkpoint must be kept as
secret as the raw updates.

Numbers are integers, in steps of `grid`, and the buffers hold the noise as it was released, after rounding. The proof
requires this. A round releases r_t = x_t + e_t with the integer total x_t and e_t = round(z_t - sum_j c_j e_(t-j)), so

  r_t = round((C X)_t + z_t - sum_j c_j r_(t-j)):

This is post-processing of the Gaussian mechanism C X + Z and of the earlier releases, because rounding commutes with
adding the integer x_t. The proof makes no assumption about the accuracy of e, because e depends on X only through r.
White noise, trees and banded streams compute this in integers, exactly; z_t has `fraction_bits` more binary places than
the grid. The buffers of a BLT are float64, with an error far below a step; the clip leaves room for it (`Buffered`).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_vision.privacy.matrix import blt

Draw = Callable[[tf.Tensor | int], tf.Tensor]
FRACTION_BITS = 12  # Binary places of white noise and coefficients in streams that multiply.


@dataclasses.dataclass(frozen=True)
class White:
  """e_t = z_t: independent noise each round."""
  fraction_bits = 0
  dtype = tf.int64

  @property
  def num_buffers(self) -> int:
    return 0

  def step(self, buffers: tf.Tensor, round_num: tf.Tensor, draw: Draw) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns this round's noise, int64 in grid steps, and the next buffers.

    Args:
      buffers: [num_buffers, *shape] of the stream's `dtype`, zeros before round 0.
      round_num: int64, from 0.
      draw: Returns array number 0, 1, ... of the round's white noise, each [*shape] int64 in
        grid steps / 2^fraction_bits.
    """
    del round_num
    return draw(0), buffers


@dataclasses.dataclass(frozen=True)
class Banded:
  """e = C^-1 z for a banded Toeplitz C: e_t = z_t - sum_j c_j e_(t-j).

  Attributes:
    coefficients: First column of C, starting with c_0 = 1; multiples of 2^-FRACTION_BITS (see `on_grid`), other values
      are rounded.
  """
  coefficients: tuple[float, ...]
  fraction_bits = FRACTION_BITS
  dtype = tf.int64

  @property
  def num_buffers(self) -> int:
    return len(self.coefficients) - 1

  def step(self, buffers, round_num, draw):
    """As `White.step`; the buffers hold the last released noise arrays, the latest first."""
    del round_num
    noise = draw(0)
    if self.num_buffers:
      whole = np.round(np.array(self.coefficients[1:]) * 2 ** FRACTION_BITS).astype(np.int64)
      noise -= tf.tensordot(tf.constant(whole), buffers, 1)
    released = _rounded(noise, FRACTION_BITS)
    if self.num_buffers:
      buffers = tf.concat([released[None], buffers[:-1]], 0)
    return released, buffers


@dataclasses.dataclass(frozen=True)
class Buffered:
  """e = C^-1 z for a BLT: e_t = z_t - sum_i omega_i S_i, then S_i <- theta_i S_i + e_t.

  S is float64, and sum_i omega_i S_i is rounded to 2^-FRACTION_BITS steps. This changes one client's contribution to
  (C X)_t by no more than 2^-11 steps per coordinate; half of this bound is for buffers with an error of 2^-13. Over T
  rounds this is an L2 norm of at most sqrt(T d) 2^-11. `grid.room` leaves sqrt(d) / 2 for it: enough for 2^20 rounds.
  """
  strategy: blt.BufferedToeplitz
  fraction_bits = FRACTION_BITS
  dtype = tf.float64

  @property
  def num_buffers(self) -> int:
    return len(self.strategy.decays)

  def step(self, buffers, round_num, draw):
    """As `White.step`."""
    del round_num
    # The order of the sum is the same on every machine, so a run resumed elsewhere computes the same numbers.
    past = tf.add_n([weight * buffers[index] for index, weight in enumerate(self.strategy.weights)])
    released = _rounded(draw(0) - tf.cast(tf.round(past * 2.0 ** FRACTION_BITS), tf.int64), FRACTION_BITS)
    decays = np.reshape(self.strategy.decays, [-1] + [1] * (buffers.shape.rank - 1))
    return released, tf.constant(decays, tf.float64) * buffers + tf.cast(released, tf.float64)[None]


@dataclasses.dataclass(frozen=True)
class Tree:
  """Binary-tree aggregation that restarts every `period` rounds; arXiv:2103.00039.

  Buffer l holds the noise of the finished node over 2^l rounds whose sibling is not finished yet. The noise of a prefix
  is the sum of the buffers; a round releases the difference of two prefixes. A node's noise plus its integer total is
  a function of the noisy totals below it and of its own noisy total: the estimate is rounded after a weighted mean
  whose weights sum to one, so it commutes with adding the total to each term.

  Attributes:
    period: A power of two.
    efficient: Whether a node is also estimated from its children, weighted by inverse variance (Honaker 2015).
  """
  period: int
  efficient: bool
  fraction_bits = 0
  dtype = tf.int64

  @property
  def num_buffers(self) -> int:
    return self.period.bit_length()

  def own_shares(self) -> list[float]:
    """Returns, for each level l, the weight of a fresh draw in a node over 2^(l+1) rounds."""
    variance, shares = 1.0, []
    for _ in range(self.num_buffers):
      shares.append(1 / (1 + 1 / (2 * variance)) if self.efficient else 1.0)
      variance = 1 / (1 + 1 / (2 * variance)) if self.efficient else 1.0
    return shares

  def step(self, buffers, round_num, draw):
    """As `White.step`; draws one number for each node that this round finishes."""
    leaf = round_num % self.period
    buffers = tf.where(tf.equal(leaf, 0), tf.zeros_like(buffers), buffers)
    before = tf.reduce_sum(buffers, 0)
    one = 2 ** FRACTION_BITS
    shares = tf.constant([round(share * one) for share in self.own_shares()], tf.int64)

    def sibling_waits(level, node, buffers):
      del node, buffers
      return tf.equal(tf.bitwise.right_shift(leaf, tf.cast(level, tf.int64)) % 2, 1)

    def merge(level, node, buffers):
      # The node's own draw has variance 1 and its children's sum 2 v; the shares are normalised inverse variances.
      own = shares[level]
      merged = _rounded(own * draw(level + 1) + (one - own) * (node + buffers[level]), FRACTION_BITS)
      return level + 1, merged, _replace(buffers, level, tf.zeros_like(node))

    level, node, buffers = tf.while_loop(sibling_waits, merge, (tf.constant(0), draw(0), buffers))
    buffers = _replace(buffers, level, node)
    return tf.reduce_sum(buffers, 0) - before, buffers


def on_grid(coefficients: np.ndarray) -> np.ndarray:
  """Returns the coefficients rounded as `Banded` uses them; compute the sensitivity from these."""
  return np.round(np.asarray(coefficients) * 2 ** FRACTION_BITS) / 2 ** FRACTION_BITS


def _rounded(value, bits):
  """Returns value / 2^bits as an integer; halves are rounded up, so rounding commutes exactly with adding integers."""
  return tf.bitwise.right_shift(value + 2 ** (bits - 1), tf.constant(bits, tf.int64))


def _replace(buffers, level, value):
  return tf.tensor_scatter_nd_update(buffers, tf.reshape(level, [1, 1]), value[None])


Stream = White | Banded | Buffered | Tree


def nonce(tensor: int, draw: tf.Tensor | int, round_num: tf.Tensor) -> tf.Tensor:
  """Returns the nonce of one white-noise array: the model's tensor, the draw's number within the round, the round."""
  return tf.stack([tf.constant(tensor, tf.uint32), tf.cast(draw, tf.uint32), tf.cast(round_num, tf.uint32)])
