"""Shapes and shape arithmetic in traced graphs: numbers that depend on constants and the batch size only."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_vision.privacy.ghost.labels import (
  CONSTANT,
  MIXED,
  Constant,
  Counted,
  Mixed,
  Own,
  Size,
  Spread,
  is_number,
  of_value,
)


def whole_numbers(op, labels):
  """Returns the labels of outputs that are computed from constants and sizes alone."""
  if op.type == 'Const' and op.outputs[0].dtype in (tf.int32, tf.int64):
    value = tf.get_static_value(op.outputs[0])
    return [of_value(value.astype(object)) if value.size <= 64 else CONSTANT]
  counted = any(isinstance(label, Counted) for label in labels)
  values = [label.value for label in labels]
  made = None
  if op.type in _ARITHMETIC and all(value is not None for value in values):
    try:
      made = _ARITHMETIC[op.type](op, *values)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
      made = None
  if made is not None:
    return [of_value(np.asarray(made, object))]
  return [Counted() if counted else CONSTANT] * len(op.outputs)


def _sliced(op, value, begin, end, strides):
  if any(op.get_attr(name) for name in ('ellipsis_mask', 'new_axis_mask')) or value.ndim != 1:
    return None
  first = None if op.get_attr('begin_mask') & 1 else int(begin[0])
  if op.get_attr('shrink_axis_mask') & 1:
    return np.asarray(value[int(begin[0])], object)
  return value[first:None if op.get_attr('end_mask') & 1 else int(end[0]):int(strides[0])]


def _known(function):
  """Returns a function that applies `function` to each pair of entries; None where it is not defined on sizes."""
  def of_entries(one, other):
    if one is None or other is None:
      return None
    try:
      return function(one, other)
    except TypeError:
      return None
  return lambda op, a, b: np.frompyfunc(of_entries, 2, 1)(a, b)


def _product(op, value, axes):
  if op.get_attr('keep_dims') or value.ndim != 1:
    return None
  total = 1
  for entry in value:
    total = _known(lambda a, b: a * b)(None, total, entry)
  return np.asarray(total, object)


def _stacked(op, *values):
  return np.stack([np.asarray(value, object) for value in values], op.get_attr('axis'))


_ARITHMETIC: dict[str, Callable] = {
    'Pack': _stacked, 'ConcatV2': lambda op, *values: np.concatenate(values[:-1], int(values[-1])),
    'StridedSlice': _sliced, 'Identity': lambda op, value: value, 'Cast': lambda op, value: value,
    'GatherV2': lambda op, value, indices, axis: np.take(value, indices.astype(np.int64), int(axis)),
    'Prod': _product, 'Mul': _known(lambda a, b: a * b), 'FloorDiv': _known(lambda a, b: a // b),
    'AddV2': _known(lambda a, b: a + b), 'Sub': _known(lambda a, b: a - b),
    'ExpandDims': lambda op, value, axis: np.expand_dims(value, int(axis)),
    'Squeeze': lambda op, value: value.reshape([1] * 0) if value.size == 1 else None,
    'Range': lambda op, start, end, step: np.arange(int(start), int(end), int(step)).astype(object),
}


def _shape_of(tensor, label):
  """Returns the shape of a tensor, each dimension an int, `Size` or None; None if not even the rank is known."""
  if tensor.shape.rank is None or isinstance(label, (Mixed, Spread)):
    return None
  shape = tensor.shape.as_list()
  if isinstance(label, Own):
    shape = list(label.shape or shape)
    shape[label.axis] = Size(label.share)
  made = np.empty(len(shape), object)
  made[:] = shape
  return made


def _shapes(op, labels):
  made = []
  for tensor, label in zip(op.inputs, labels, strict=True):
    shape = _shape_of(tensor, label)
    made.append(Counted() if shape is None else of_value(shape))
  return made


def _number_of_entries(op, labels):
  shape = _shape_of(op.inputs[0], labels[0])
  if shape is None:
    return [Counted()]
  return [of_value(np.asarray(product_of(shape), object))]


def product_of(shape):
  total = 1
  for entry in shape:
    total = None if total is None or entry is None else total * entry
  return total


def _of_given_shape(op, labels):
  """Operations that make tensors of a given shape: constants and random numbers, one for each entry."""
  shape, others = labels[0], labels[1:]
  if not all(isinstance(label, Constant) for label in others):
    return [MIXED]
  if isinstance(shape, Constant):
    return [CONSTANT]
  if isinstance(shape, Counted) and shape.value is not None:
    return [_one_axis(shape.value)]
  return [MIXED]


def _one_axis(shape):
  """Returns the label of a tensor of this shape whose entries are all equal, or all random."""
  axes = [axis for axis, entry in enumerate(shape) if not is_number(entry)]
  if len(axes) == 1 and isinstance(shape[axes[0]], Size):
    return Own(axes[0], shape[axes[0]].times)
  return MIXED


OF_SHAPES: dict[str, Callable] = {
    'Shape': _shapes, 'ShapeN': _shapes, 'Size': _number_of_entries, 'Rank': lambda op, labels: [
        Counted() if op.inputs[0].shape.rank is None else of_value(np.asarray(op.inputs[0].shape.rank, object))],
    **dict.fromkeys(('Fill', 'RandomUniform', 'RandomStandardNormal', 'TruncatedNormal', 'StatelessRandomUniform',
                     'StatelessRandomUniformV2', 'StatelessRandomNormal', 'StatelessRandomNormalV2',
                     'StatelessTruncatedNormal', 'StatelessTruncatedNormalV2', 'StatelessRandomUniformFullIntV2'),
                    _of_given_shape),
    'RngReadAndSkip': lambda op, labels: [CONSTANT],
}


def constant(op, position):
  """Returns the value of an operand that is the same for every batch; raises TypeError otherwise."""
  value = tf.get_static_value(op.inputs[position])
  if value is None:
    raise TypeError
  return value
