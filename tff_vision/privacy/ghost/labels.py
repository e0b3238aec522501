"""Labels of tensors in a traced forward pass: how a tensor depends on the examples of the batch."""

import dataclasses

import numpy as np


class Size:
  """`times` examples' worth of a dimension: `times` * batch size."""

  def __init__(self, times: int):
    self.times = times

  def __mul__(self, other):
    return Size(self.times * other) if isinstance(other, (int, np.integer)) else None

  __rmul__ = __mul__

  def __floordiv__(self, other):
    if isinstance(other, Size):
      return self.times // other.times if self.times % other.times == 0 else None
    return Size(self.times // other) if is_number(other) and self.times % other == 0 else None

  def __eq__(self, other):
    return isinstance(other, Size) and other.times == self.times

  def __hash__(self):
    return hash(('batch', self.times))


@dataclasses.dataclass(frozen=True)
class Constant:
  """Attributes: value: Of small whole-number tensors, where known."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Counted:
  """Attributes: value: Array of int, `Size` or None (unknown); None: unknown altogether."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Own:
  """Slices of an axis.

  Attributes:
    axis: Where the examples are.
    share: Consecutive slices of it that belong to one example.
    shape: Of the tensor, where TensorFlow does not know what `_reshape` does.
  """
  axis: int
  share: int = 1
  shape: tuple[int, ...] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Spread:
  """Images taken apart for a dilated convolution: axis 0 goes through all examples for each place of `block`."""
  block: tuple[int, ...]


class Mixed:
  """Anything may depend on anything."""


CONSTANT, MIXED = Constant(), Mixed()


def is_number(entry: object) -> bool:
  """Whether an entry of a shape is the same for every batch."""
  return isinstance(entry, (int, np.integer))


def of_value(value: np.ndarray) -> Constant | Counted:
  """Returns the label of a whole-number tensor of this value."""
  plain = all(is_number(entry) for entry in value.ravel())
  return Constant(value) if plain else Counted(value)
