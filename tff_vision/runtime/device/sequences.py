"""Sequences inside of computations: taken element by element, mapped, and made.

A sequence is a variant tensor, as TensorFlow computations take it; an element is a value.

Not public API.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.runtime.device import leaf, values

structure = tff.structure


def elements(sequence: Any, kind: tff.Type) -> Iterator[Any]:
  """Yields the elements of a sequence; `kind` is their type."""
  for flat in _dataset(sequence, kind):
    yield _packed(kind, iter(flat))


def mapped(sequence: Any, kind: tff.Type, function: Callable[[Any], Any]) -> tf.Tensor:
  """Returns the sequence of what a function gives for the elements, which have the type `kind`.

  The function is called once, with tensors of a graph.
  """
  @tf.autograph.experimental.do_not_convert
  def call(*flat):
    return tuple(values.flatten(function(_packed(kind, iter(flat)))))

  return tf.data.experimental.to_variant(_dataset(sequence, kind).map(call, deterministic=True))


def of(found: Sequence[Any], kind: tff.Type) -> tf.Tensor:
  """Returns the sequence of elements that all have the same shapes; `kind` is their type."""
  if found:
    flat = tuple(map(tf.stack, zip(*map(values.flatten, found), strict=True)))
  else:
    flat = tuple(tf.zeros([0, *(size or 0 for size in spec.shape)], spec.dtype) for spec in _specs(kind))
  with tf.device('CPU:0'):
    return tf.data.experimental.to_variant(tf.data.Dataset.from_tensor_slices(flat))


def _dataset(sequence, kind):
  (found,) = values.flatten(sequence)
  variant = found.variant() if isinstance(found, leaf.Element) else found
  with tf.device('CPU:0'):
    return tf.data.experimental.from_variant(variant, tuple(_specs(kind)))


def _specs(kind) -> Iterator[tf.TensorSpec]:
  if isinstance(kind, tff.StructType):
    for part in kind:
      yield from _specs(part)
  else:
    yield tf.TensorSpec(kind.shape, tf.string if kind.dtype.type is np.str_ else tf.as_dtype(kind.dtype))


def _packed(kind, flat):
  if isinstance(kind, tff.StructType):
    return structure.Struct([(name, _packed(part, flat)) for name, part in structure.iter_elements(kind)])
  return next(flat)
