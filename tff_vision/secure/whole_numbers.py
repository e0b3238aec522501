"""Counts and metrics of a client as small integers in the hidden vector; their sums are exact.

A number is counted in steps from the bottom of its range. The count is split into pieces of `value_bits` - 1 bits, so
that a piece is no larger than an element of an update; a sum that has room for updates has room for the pieces too. A
number that may leave its range has one more piece, which counts the clients whose number left the range.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision import told


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeNumbers:
  """Maps named numbers to integers.

  Attributes:
    quantities: The description of each number.
    value_bits: Bits of an element of an update.
  """
  quantities: Mapping[str, told.Quantity]
  value_bits: int

  @property
  def length(self) -> int:
    """The number of integers."""
    return sum(self._pieces(quantity) + quantity.open_ended for quantity in self.quantities.values())

  def encode(self, numbers: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the integers of one client, [length] float32, none above 2**(value_bits - 1) - 1; runs on the client.

    The computation fails where a number that must stay in its range is outside; the message contains no value.

    Args:
      numbers: A scalar for each quantity.
    """
    found = []
    for name, quantity in self.quantities.items():
      value = tf.cast(numbers[name], tf.float64)
      count = tf.round((value - quantity.low) / quantity.step)
      inside = tf.logical_and(count >= 0, count <= quantity.largest)  # For NaN both are false.
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
    """Returns the sums over `clients` clients; NaN where a client's number left the range.

    Args:
      total: [length] whole numbers, the sum of the results of `encode`.
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
  """Has the methods of `fixed_point.Encoding`: it encodes an update so, and keeps the integers before it unchanged.

  Attributes:
    encoding: The encoding of the update.
    count: The number of integers before it.
  """
  encoding: Any
  count: int

  @property
  def value_bits(self) -> int:
    return self.encoding.value_bits

  @property
  def offset(self) -> int:
    """Added to an integer of the update to make it non-negative; not added to the integers before the update."""
    return self.encoding.offset

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns integers, [n] float64, of [n] float32 values and integers; runs on the client."""
    return self.integers(self.prepared(values), seed)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Does the part that needs the whole update."""
    update = self.encoding.prepared(values[self.count:])
    return tf.concat([tf.cast(values[:self.count], update.dtype), update], axis=0)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the integers of a result of `prepared`, or of the part of it that begins at `first`."""
    position = first + tf.range(tf.shape(values)[0])
    return tf.where(position < self.count, tf.cast(values, tf.float64), self.encoding.integers(values, seed, first))

  def decode(self, total: tf.Tensor, clients: tf.Tensor) -> tf.Tensor:
    """Returns the sums of integers and the decoded sum of updates, [n] float64, from [n] int64."""
    update = self.encoding.decode(total[self.count:], clients)
    return tf.concat([tf.cast(total[:self.count], tf.float64), tf.cast(update, tf.float64)], axis=0)
