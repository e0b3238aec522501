"""Noise streams: what is added in round t, computed from white noise and a few server-side buffers.

A stream turns white z_1, z_2, ... into e_1, e_2, ... one round at a time; each tensor of the model has its own. The
buffers hold past noise: whoever reads them can subtract it, so a checkpoint is as secret as the raw updates.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_vision.privacy.matrix import blt

Draw = Callable[[tf.Tensor | int], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class White:
  """e_t = z_t: independent noise each round."""

  @property
  def num_buffers(self) -> int:
    return 0

  def step(self, buffers: tf.Tensor, round_num: tf.Tensor, draw: Draw) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns this round's noise and the next buffers.

    Args:
      buffers: [num_buffers, *shape] float32, zeros before round 0.
      round_num: int64, from 0.
      draw: Gives the round's white noise number 0, 1, ..., each [*shape] float32.
    """
    del round_num
    return draw(0), buffers


@dataclasses.dataclass(frozen=True)
class Banded:
  """e = C^-1 z for a banded Toeplitz C: e_t = z_t - sum_j c_j e_(t-j)."""
  coefficients: tuple[float, ...]

  @property
  def num_buffers(self) -> int:
    return len(self.coefficients) - 1

  def step(self, buffers, round_num, draw):
    """As `White.step`; the buffers are the last released noises, the latest first."""
    del round_num
    released = draw(0)
    if self.num_buffers:
      released -= tf.tensordot(tf.constant(self.coefficients[1:], tf.float32), buffers, 1)
      buffers = tf.concat([released[None], buffers[:-1]], 0)
    return released, buffers


@dataclasses.dataclass(frozen=True)
class Buffered:
  """e = C^-1 z for a BLT: e_t = z_t - sum_i omega_i S_i, then S_i <- theta_i S_i + e_t."""
  strategy: blt.BufferedToeplitz

  @property
  def num_buffers(self) -> int:
    return len(self.strategy.decays)

  def step(self, buffers, round_num, draw):
    """As `White.step`."""
    del round_num
    released = draw(0) - tf.tensordot(tf.constant(self.strategy.weights, tf.float32), buffers, 1)
    decays = np.reshape(self.strategy.decays, [-1] + [1] * (buffers.shape.rank - 1))
    return released, tf.constant(decays, tf.float32) * buffers + released[None]


@dataclasses.dataclass(frozen=True)
class Tree:
  """Binary-tree aggregation that restarts every `period` rounds; arXiv:2103.00039.

  Buffer l holds the noise of the finished node over 2^l rounds whose sibling is still open. The noise of a prefix
  is the sum of the buffers; a round releases the difference of two prefixes.

  Attributes:
    period: A power of two.
    efficient: Estimate a node from its children too, by inverse variance (Honaker 2015).
  """
  period: int
  efficient: bool

  @property
  def num_buffers(self) -> int:
    return self.period.bit_length()

  def own_shares(self) -> list[float]:
    """Returns for each level l the weight of a fresh draw in a node over 2^(l+1) rounds."""
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
    shares = tf.constant(self.own_shares(), tf.float32)

    def sibling_waits(level, node, buffers):
      del node, buffers
      return tf.equal(tf.bitwise.right_shift(leaf, tf.cast(level, tf.int64)) % 2, 1)

    def merge(level, node, buffers):
      # The own draw has variance 1, the children's sum 2 v: shares are inverse variances, normalised.
      own = shares[level]
      merged = own * draw(level + 1) + (1 - own) * (node + buffers[level])
      return level + 1, merged, _replace(buffers, level, tf.zeros_like(node))

    level, node, buffers = tf.while_loop(sibling_waits, merge, (tf.constant(0), draw(0), buffers))
    buffers = _replace(buffers, level, node)
    return tf.reduce_sum(buffers, 0) - before, buffers


def _replace(buffers, level, value):
  return tf.tensor_scatter_nd_update(buffers, tf.reshape(level, [1, 1]), value[None])


Stream = White | Banded | Buffered | Tree


def nonce(tensor: int, draw: tf.Tensor | int, round_num: tf.Tensor) -> tf.Tensor:
  """Returns the name of one array of white noise: the model's tensor, the draw's number within the round, the round."""
  return tf.stack([tf.constant(tensor, tf.uint32), tf.cast(draw, tf.uint32), tf.cast(round_num, tf.uint32)])
