"""Counts and metrics of a client as small integers in the hidden vector; their sums are exact.

A number is counted in steps from the bottom of its range, and the count is cut into pieces of `value_bits` - 1 bits, so
that a piece is no larger than an element of an update: whatever has room for the sum of updates has room for them. A
number that may leave its range brings one more piece, which counts the clients for which it did.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import told


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeNumbers:
  """How named numbers become integers.

  Attributes:
    quantities: What each one is.
    value_bits: Bits of an element of an update.
  """
  quantities: Mapping[str, told.Quantity]
  value_bits: int

  @property
  def length(self) -> int:
    """How many integers there are."""
    return sum(self._pieces(quantity) + quantity.open_ended for quantity in self.quantities.values())

  def encode(self, numbers: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the integers of one client, [length] float32, none above 2**(value_bits - 1) - 1; on the client.

    The computation fails where a number that cannot leave its range has left it; the message names no value.

    Args:
      numbers: A scalar for each quantity.
    """
    found = []
    for name, quantity in self.quantities.items():
      value = tf.cast(numbers[name], tf.float64)
      count = tf.round((value - quantity.low) / quantity.step)
      inside = tf.logical_and(count >= 0, count <= quantity.largest)  # Of no number neither holds.
      if not quantity.open_ended:
        legal = tf.debugging.Assert(inside, [
            f'secure sum: a client\'s {name} lies outside {quantity.low:g}..{quantity.high:g}, its public range; '
            'nothing was encrypted and the round fails.'])
        with tf.control_dependencies([legal]):
          count = tf.identity(count)
      count = tf.cast(tf.where(inside, count, tf.zeros_like(count)), tf.int64)
      for piece in range(self._pieces(quantity)):
        shifted = tf.bitwise.right_shift(count, tf.constant(piece * self._bits, tf.int64))
        found.append(tf.bitwise.bitwise_and(shifted, tf.constant(2**self._bits - 1, tf.int64)))
      if quantity.open_ended:
        found.append(tf.cast(tf.logical_not(inside), tf.int64))
    return tf.cast(tf.stack(found), tf.float32)

  def decode(self, total: np.ndarray, clients: int) -> dict[str, float]:
    """Returns the sums over `clients` clients; not a number where one of them left the range.

    Args:
      total: [length] whole numbers, the sum of what `encode` returned.
    """
    left, sums = [int(one) for one in total], {}
    for name, quantity in self.quantities.items():
      count = sum(left.pop(0) << (piece * self._bits) for piece in range(self._pieces(quantity)))
      value = count * quantity.step + clients * quantity.low
      sums[name] = float('nan') if quantity.open_ended and left.pop(0) else value
    return sums

  @property
  def _bits(self):
    return self.value_bits - 1

  def _pieces(self, quantity):
    return -(-max(1, quantity.largest.bit_length()) // self._bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BesideUpdate:
  """Stands where `fixed_point.Encoding` does: that one for an update, before which integers stay as they are.

  Attributes:
    encoding: Of the update.
    count: How many integers stand before it.
  """
  encoding: Any
  count: int

  @property
  def value_bits(self) -> int:
    return self.encoding.value_bits

  @property
  def offset(self) -> int:
    """Added to an integer of the update to make it non-negative, and to no other."""
    return self.encoding.offset

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns integers, [n] float64, of [n] float32 values and integers; runs on the client."""
    return self.integers(self.prepared(values), seed)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Does what needs the whole update."""
    update = self.encoding.prepared(values[self.count:])
    return tf.concat([tf.cast(values[:self.count], update.dtype), update], axis=0)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the integers of what `prepared` returned, or of the part of it that begins at `first`."""
    position = first + tf.range(tf.shape(values)[0])
    return tf.where(position < self.count, tf.cast(values, tf.float64), self.encoding.integers(values, seed, first))

  def decode(self, total: tf.Tensor, clients: tf.Tensor) -> tf.Tensor:
    """Returns the sums of integers and the sum of updates, as its encoding has it, [n] float64, from [n] int64."""
    update = self.encoding.decode(total[self.count:], clients)
    return tf.concat([tf.cast(total[:self.count], tf.float64), tf.cast(update, tf.float64)], axis=0)
