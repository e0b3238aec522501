"""Labels of tensors in a traced forward pass: how a tensor depends on the examples of the batch."""

import dataclasses

import numpy as np


class Size:
  """The size of a dimension that holds `times` entries for each example: `times` * batch size."""

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
  """Attributes: value: The value of a small whole-number tensor, where known."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Counted:
  """Attributes: value: Array of int, `Size` or None (entry unknown); None: the whole value is unknown."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Own:
  """Slices of one axis belong to one example each.

  Attributes:
    axis: The axis of the examples.
    share: The number of consecutive slices that belong to one example.
    shape: The tensor's shape, where TensorFlow does not know the result of `_reshape`.
  """
  axis: int
  share: int = 1
  shape: tuple[int, ...] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Spread:
  """Images split for a dilated convolution: axis 0 runs through all examples for each position of `block`."""
  block: tuple[int, ...]


class Mixed:
  """Any entry may depend on any example."""


CONSTANT, MIXED = Constant(), Mixed()


def is_number(entry: object) -> bool:
  """Whether an entry of a shape is the same for every batch."""
  return isinstance(entry, (int, np.integer))


def of_value(value: np.ndarray) -> Constant | Counted:
  """Returns the label of a whole-number tensor with this value."""
  plain = all(is_number(entry) for entry in value.ravel())
  return Constant(value) if plain else Counted(value)
