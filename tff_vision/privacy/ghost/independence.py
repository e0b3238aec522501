"""A proof, on the traced graph of a forward pass, that no example of a batch touches what is computed for another.

Each tensor gets a label: the same for every batch (`_CONSTANT`), a function of the batch's size (`_Counted`), slices of
one axis that belong to one example each (`_Own`), or anything else (`_MIXED`). Each kind of operation that is known to
keep examples apart has a rule below; what has none mixes. So the proof holds for layers of any class, Lambda and
subclassed ones included, for all inputs and batch sizes, and a model that it does not cover may still be innocent.

Not covered: kernels may add up the numbers of one example in another order in a batch of another size.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops as tf_ops

from tff_vision.privacy.ghost import taps


class _Size:
  """`times` examples' worth of a dimension: `times` * batch size."""

  def __init__(self, times: int):
    self.times = times

  def __mul__(self, other):
    return _Size(self.times * other) if isinstance(other, (int, np.integer)) else None

  __rmul__ = __mul__

  def __floordiv__(self, other):
    if isinstance(other, _Size):
      return self.times // other.times if self.times % other.times == 0 else None
    return _Size(self.times // other) if isinstance(other, (int, np.integer)) and self.times % other == 0 else None

  def __eq__(self, other):
    return isinstance(other, _Size) and other.times == self.times

  def __hash__(self):
    return hash(('batch', self.times))


@dataclasses.dataclass(frozen=True)
class _Constant:
  """Attributes: value: Of small whole-number tensors, where known."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Counted:
  """Attributes: value: Array of int, `_Size` or None (unknown); None: unknown altogether."""
  value: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Own:
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
class _Spread:
  """Images taken apart for a dilated convolution: axis 0 goes through all examples for each place of `block`."""
  block: tuple[int, ...]


class _Mixed:
  """Anything may depend on anything."""


_CONSTANT, _MIXED = _Constant(), _Mixed()


class StateError(ValueError):
  """A forward pass keeps something of an example for the passes after it."""


def check(graph: tf.Graph, inputs: tf.Tensor, targets: Sequence[tf.Tensor]) -> None:
  """Raises `taps.UnsupportedError` unless each target provably keeps the examples of `inputs` apart.

  Args:
    graph: In which `inputs`, of unknown batch size, and `targets` were traced.

  Raises:
    StateError: See there; no way of clipping is sound then.
  """
  found = _labels(graph, {inputs.ref(): _Own(0)})
  for target in targets:
    label = found.get(target.ref(), _CONSTANT)
    if not isinstance(label, (_Own, _Constant)):
      raise taps.UnsupportedError(f'not proven to keep the examples of a batch apart: {_culprit(target, found)}')


def of_inputs(graph: tf.Graph, inputs: tf.Tensor, targets: Sequence[tf.Tensor]) -> list[bool]:
  """Returns whether each target depends on `inputs`, if only on their number.

  Raises:
    StateError: As `check`.
  """
  found = _labels(graph, {inputs.ref(): _Own(0)})
  return [not isinstance(found.get(target.ref(), _CONSTANT), _Constant) for target in targets]


def _labels(graph, known):
  """Returns the label of every tensor of `graph`, by reference."""
  found = dict(known)
  for op in graph.get_operations():
    if any(output.ref() in found for output in op.outputs):
      continue
    labels = [found[tensor.ref()] for tensor in op.inputs]
    _refuse_state(op, labels)
    for output, label in zip(op.outputs, _outputs(op, labels), strict=True):
      found[output.ref()] = label
  return found


def _culprit(target, found):
  """Returns a description of the operation in which examples first meet on the way to `target`."""
  op, seen = target.op, set()
  while op not in seen:
    seen.add(op)
    mixed = [tensor for tensor in op.inputs if not isinstance(found[tensor.ref()], (_Own, _Constant))]
    if not mixed or all(isinstance(found[tensor.ref()], _Counted) for tensor in mixed):
      break
    op = next(tensor for tensor in mixed if not isinstance(found[tensor.ref()], _Counted)).op
  return f'operation {op.type} at {op.name}'


# Stateful operations that remember nothing of what they are given.
_FORGETS = ('Assert', 'Case', 'If', 'Multinomial', 'Print', 'PrintV2', 'ReadVariableOp', 'ResourceGather',
            'ResourceGatherNd', 'StatefulPartitionedCall', 'VarHandleOp', 'VarIsInitializedOp', 'VariableShape', 'While',
            'RandomUniform', 'RandomUniformInt', 'RandomStandardNormal', 'TruncatedNormal', 'RandomShuffle')

_DRAWS = ('RngReadAndSkip', 'RngSkip')


def _refuse_state(op, labels):
  if all(isinstance(label, _Constant) for label in labels):
    return
  for inner in _with_bodies(op):
    # The state of a generator counts what was drawn.
    drawn = inner.type in _DRAWS and inner is op and all(isinstance(label, (_Constant, _Counted)) for label in labels)
    if inner.op_def.is_stateful and inner.type not in _FORGETS and not drawn:
      raise StateError(f'operation {inner.type} at {inner.name} may keep something of an example for later ones, which '
                       'no clip bounds: take out what changes variables while the model is trained.')


def _with_bodies(op):
  """Yields an operation and all in the functions that it calls."""
  yield op
  for attribute in op.node_def.attr.values():
    names = [attribute.func.name] if attribute.HasField('func') else [one.name for one in attribute.list.func]
    for name in names:
      for inner in _body(op.graph, name).get_operations():
        yield from _with_bodies(inner)


def _body(graph, name):
  """Returns the graph of a function of `graph`."""
  return graph._get_function(name).graph


def _outputs(op, labels):
  """Returns the labels of an operation's outputs."""
  if '_gradient_op_type' in op.node_def.attr and not _own_gradient(op):
    return [_MIXED] * len(op.outputs)
  if op.type in _OF_SHAPES:
    return _OF_SHAPES[op.type](op, labels)
  if all(isinstance(label, (_Constant, _Counted)) for label in labels):
    return _whole_numbers(op, labels)
  if any(isinstance(label, _Mixed) for label in labels) or op.type not in _RULES:
    return [_MIXED] * len(op.outputs)
  made = _RULES[op.type](op, labels)
  made = made if isinstance(made, list) else [made] * len(op.outputs)
  if op.type in _KEEP_SHAPE:
    return made
  return [dataclasses.replace(label, shape=None) if isinstance(label, _Own) else label for label in made]


def _own_gradient(op):
  """Whether the gradient that an operation is given in place of its own comes with TensorFlow."""
  override = op.node_def.attr['_gradient_op_type'].s.decode()
  pending, seen = [tf_ops.gradient_registry.lookup(override)], set()
  while pending:
    function = inspect.unwrap(pending.pop())
    if id(function) in seen:
      continue
    seen.add(id(function))
    if not str(getattr(function, '__module__', None) or type(function).__module__).startswith('tensorflow.python.'):
      return False
    cells = [cell.cell_contents for cell in getattr(function, '__closure__', None) or () if _filled(cell)]
    pending += [content for content in cells if callable(content)]
  return True


def _filled(cell):
  try:
    _ = cell.cell_contents
  except ValueError:
    return False
  return True


# Whole numbers: shapes and what is made of them.


def _whole_numbers(op, labels):
  """Returns the labels of what is computed from constants and sizes alone."""
  if op.type == 'Const' and op.outputs[0].dtype in (tf.int32, tf.int64):
    value = tf.get_static_value(op.outputs[0])
    return [_of_value(value.astype(object)) if value.size <= 64 else _CONSTANT]
  counted = any(isinstance(label, _Counted) for label in labels)
  values = [label.value for label in labels]
  made = None
  if op.type in _ARITHMETIC and all(value is not None for value in values):
    try:
      made = _ARITHMETIC[op.type](op, *values)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
      made = None
  if made is not None:
    return [_of_value(np.asarray(made, object))]
  return [_Counted() if counted else _CONSTANT] * len(op.outputs)


def _of_value(value):
  plain = all(_is_number(entry) for entry in value.ravel())
  return _Constant(value) if plain else _Counted(value)


def _sliced(op, value, begin, end, strides):
  if any(op.get_attr(name) for name in ('ellipsis_mask', 'new_axis_mask')) or value.ndim != 1:
    return None
  first = None if op.get_attr('begin_mask') & 1 else int(begin[0])
  if op.get_attr('shrink_axis_mask') & 1:
    return np.asarray(value[int(begin[0])], object)
  return value[first:None if op.get_attr('end_mask') & 1 else int(end[0]):int(strides[0])]


def _known(function):
  """Returns the function for each pair of entries, None where it is not defined on sizes."""
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
  """Returns the shape of a tensor: int, `_Size` or None a dimension; None if not even the rank is known."""
  if tensor.shape.rank is None or isinstance(label, (_Mixed, _Spread)):
    return None
  shape = tensor.shape.as_list()
  if isinstance(label, _Own):
    shape = list(label.shape or shape)
    shape[label.axis] = _Size(label.share)
  made = np.empty(len(shape), object)
  made[:] = shape
  return made


def _shapes(op, labels):
  made = []
  for tensor, label in zip(op.inputs, labels, strict=True):
    shape = _shape_of(tensor, label)
    made.append(_Counted() if shape is None else _of_value(shape))
  return made


def _number_of_entries(op, labels):
  shape = _shape_of(op.inputs[0], labels[0])
  if shape is None:
    return [_Counted()]
  return [_of_value(np.asarray(_product_of(shape), object))]


def _product_of(shape):
  total = 1
  for entry in shape:
    total = None if total is None or entry is None else total * entry
  return total


def _of_given_shape(op, labels):
  """Operations that make tensors of a shape: constants and random numbers, one for each entry."""
  shape, others = labels[0], labels[1:]
  if not all(isinstance(label, _Constant) for label in others):
    return [_MIXED]
  if isinstance(shape, _Constant):
    return [_CONSTANT]
  if isinstance(shape, _Counted) and shape.value is not None:
    return [_one_axis(shape.value)]
  return [_MIXED]


def _one_axis(shape):
  """Returns the label of what has this shape and the same, or chance, in each entry."""
  axes = [axis for axis, entry in enumerate(shape) if not _is_number(entry)]
  if len(axes) == 1 and isinstance(shape[axes[0]], _Size):
    return _Own(axes[0], shape[axes[0]].times)
  return _MIXED


_OF_SHAPES: dict[str, Callable] = {
    'Shape': _shapes, 'ShapeN': _shapes, 'Size': _number_of_entries, 'Rank': lambda op, labels: [
        _Counted() if op.inputs[0].shape.rank is None else _of_value(np.asarray(op.inputs[0].shape.rank, object))],
    **dict.fromkeys(('Fill', 'RandomUniform', 'RandomStandardNormal', 'TruncatedNormal', 'StatelessRandomUniform',
                     'StatelessRandomUniformV2', 'StatelessRandomNormal', 'StatelessRandomNormalV2',
                     'StatelessTruncatedNormal', 'StatelessTruncatedNormalV2', 'StatelessRandomUniformFullIntV2'),
                    _of_given_shape),
    'RngReadAndSkip': lambda op, labels: [_CONSTANT],
}


# Operations on data.


def _constant(op, position):
  """Returns the value of an operand that is the same for every batch; raises TypeError otherwise."""
  value = tf.get_static_value(op.inputs[position])
  if value is None:
    raise TypeError
  return value


def _careful(rule):
  """Returns the rule, which mixes where it asks for something that is not known."""
  def checked(op, labels):
    try:
      return rule(op, labels)
    except (TypeError, ValueError, IndexError, AttributeError):
      return _MIXED
  return checked


def _elementwise(op, labels):
  """Broadcasting: every operand's examples must meet those of the others, and nothing else be as long."""
  return _broadcast([tensor.shape.rank for tensor in op.inputs], list(op.inputs), labels)


def _broadcast(ranks, tensors, labels):
  if any(isinstance(label, _Counted) for label in labels) or any(rank is None for rank in ranks):
    return _MIXED
  own = {(rank - label.axis, label.share) for rank, label in zip(ranks, labels, strict=True)
         if isinstance(label, _Own)}
  if len(own) != 1:
    return _MIXED
  from_end, share = own.pop()
  for rank, tensor, label in zip(ranks, tensors, labels, strict=True):
    # A constant that differs along the examples would tell their places apart.
    if isinstance(label, _Constant) and rank >= from_end and tensor.shape[rank - from_end] != 1:
      return _MIXED
  return _Own(max(ranks) - from_end, share)


def _same(op, labels):
  return list(labels) if len(op.outputs) == len(labels) else labels[0]


def _bias(op, labels):
  value, bias = labels
  channel = 1 if op.get_attr('data_format') == b'NCHW' else op.inputs[0].shape.rank - 1
  return value if isinstance(value, _Own) and isinstance(bias, _Constant) and value.axis != channel else _MIXED


def _matmul(op, labels):
  a, b = labels
  good = isinstance(a, _Own) and a.axis == 0 and not op.get_attr('transpose_a') and isinstance(b, _Constant)
  return _Own(0, a.share) if good else _MIXED


def _batch_matmul(op, labels):
  ranks = [tensor.shape.rank for tensor in op.inputs]
  a, b = labels
  if isinstance(a, _Own) and a.axis == ranks[0] - 2 and isinstance(b, _Constant) and not op.get_attr('adj_x'):
    return _Own(max(ranks) - 2, a.share)
  if any(isinstance(label, _Own) and label.axis >= rank - 2 for label, rank in zip(labels, ranks, strict=True)):
    return _MIXED
  return _broadcast(ranks, list(op.inputs), labels)


def _einsum(op, labels):
  operands, result = op.get_attr('equation').decode().replace(' ', '').split('->')
  operands = operands.split(',')
  if '.' in result or any(len(set(letters)) < len(letters) or '.' in letters for letters in operands):
    return _MIXED
  own = {(letters[label.axis], label.share) for letters, label in zip(operands, labels, strict=True)
         if isinstance(label, _Own)}
  if len(own) != 1:
    return _MIXED
  letter, share = own.pop()
  constants = [letters for letters, label in zip(operands, labels, strict=True) if not isinstance(label, _Own)]
  if letter not in result or any(letter in letters for letters in constants):
    return _MIXED
  return _Own(result.index(letter), share)


def _images(op, labels):
  """Operations on [batch, ...] with constant filters or sizes."""
  windows = [op.get_attr(name)[0] for name in ('ksize', 'strides', 'dilations') if name in op.node_def.attr]
  first = isinstance(labels[0], _Own) and labels[0].axis == 0 or isinstance(labels[0], _Spread)
  good = first and all(isinstance(label, _Constant) for label in labels[1:]) and set(windows) <= {1}
  return labels[0] if good else _MIXED


def _taken_apart(op, labels):
  good = labels[0] == _Own(0) and all(isinstance(label, _Constant) for label in labels[1:])
  return _Spread(tuple(int(size) for size in _constant(op, 1))) if good else _MIXED


def _put_together(op, labels):
  block = tuple(int(size) for size in _constant(op, 1))
  good = labels[0] == _Spread(block) and all(isinstance(label, _Constant) for label in labels[1:])
  return _Own(0) if good else _MIXED


def _moved(op, labels):
  """Each image by a transformation of its own."""
  images, transformations, *others = labels
  same = images == transformations == _Own(0) and all(isinstance(label, _Constant) for label in others)
  return images if same else _MIXED


def _transposed_convolution(op, labels):
  sizes, filters, values = labels
  if not (isinstance(values, _Own) and values.axis == 0 and isinstance(filters, _Constant)
          and isinstance(sizes, _Counted) and sizes.value[0] == _Size(values.share)):
    return _MIXED
  return values


def _batch_normalization(op, labels):
  value, others = labels[0], labels[1:]
  channel = 1 if op.get_attr('data_format') == b'NCHW' else 3
  if not isinstance(value, _Own):
    return _MIXED
  if value.axis == channel:  # How Keras normalises layers: each example is a channel.
    same = _Own(0, value.share)
    good = op.get_attr('is_training') and all(label == same for label in others[:2])
    return [value, same, same, same, same, _MIXED][:len(op.outputs)] if good else _MIXED
  good = not op.get_attr('is_training') and all(isinstance(label, _Constant) for label in others)
  return [value] + [_MIXED] * (len(op.outputs) - 1) if good else _MIXED


def _reduction(op, labels):
  value, rank = labels[0], op.inputs[0].shape.rank
  axes = {int(axis) % rank for axis in np.ravel(_constant(op, 1))}
  if not isinstance(value, _Own) or value.axis in axes:
    return _MIXED
  kept = 'keep_dims' in op.node_def.attr and op.get_attr('keep_dims')
  return value if kept else _Own(value.axis - sum(axis < value.axis for axis in axes), value.share)


def _along_last(op, labels):
  apart = all(isinstance(label, _Constant) for label in labels[1:])
  return labels[0] if apart and labels[0].axis != op.inputs[0].shape.rank - 1 else _MIXED


def _along_axes(op, labels):
  """Cumulative sums and reversals."""
  rank = op.inputs[0].shape.rank
  return _MIXED if labels[0].axis in {int(axis) % rank for axis in np.ravel(_constant(op, 1))} else labels[0]


def _reshape(op, labels):
  """Examples stay together if they are the outermost axis before and after."""
  value = labels[0]
  before = value.shape or tuple(op.inputs[0].shape)
  if not isinstance(labels[1], (_Constant, _Counted)) or labels[1].value is None:
    return _MIXED
  inner = _product_of(before[value.axis + 1:])
  if inner is None or _product_of(before[:value.axis]) != 1:
    return _MIXED
  each, shape = value.share * inner, list(labels[1].value)  # Entries of one example.
  unknown = [axis for axis, entry in enumerate(shape) if _is_number(entry) and entry == -1]
  sizes = [axis for axis, entry in enumerate(shape) if isinstance(entry, _Size)]
  if any(entry is None for entry in shape) or len(unknown) > 1 or len(sizes) > 1:
    return _MIXED
  rest = _product_of([entry for entry in shape if not isinstance(entry, _Size) and entry != -1])
  if not sizes:
    # The inferred axis has the examples: all others are the same for every batch.
    if not unknown or not rest or each % rest:
      return _MIXED
    shape[unknown[0]], sizes = _Size(each // rest), unknown
  elif unknown:
    if each % (rest * shape[sizes[0]].times):
      return _MIXED
    shape[unknown[0]] = each // (rest * shape[sizes[0]].times)
  axis = sizes[0]
  if _product_of(shape[:axis]) != 1 or _product_of(shape[axis + 1:]) * shape[axis].times != each:
    return _MIXED
  return _Own(axis, shape[axis].times, tuple(None if at == axis else int(entry) for at, entry in enumerate(shape)))


def _expanded(op, labels):
  at, rank = int(_constant(op, 1)), op.inputs[0].shape.rank
  at = at % (rank + 1)
  return _Own(labels[0].axis + (at <= labels[0].axis), labels[0].share)


def _squeezed(op, labels):
  axes = [axis % op.inputs[0].shape.rank for axis in op.get_attr('squeeze_dims')]
  if not axes or labels[0].axis in axes:  # Without axes, a batch of one would lose its own.
    return _MIXED
  return _Own(labels[0].axis - sum(axis < labels[0].axis for axis in axes), labels[0].share)


def _transposed(op, labels):
  return _Own([int(axis) for axis in _constant(op, 1)].index(labels[0].axis), labels[0].share)


def _joined(op, labels):
  axis = int(_constant(op, len(labels) - 1)) % op.inputs[0].shape.rank
  return labels[0] if len(set(labels[:-1])) == 1 and labels[0].axis != axis else _MIXED


def _packed(op, labels):
  at = op.get_attr('axis') % (op.inputs[0].shape.rank + 1)
  return _Own(labels[0].axis + (at <= labels[0].axis), labels[0].share) if len(set(labels)) == 1 else _MIXED


def _unpacked(op, labels):
  at = op.get_attr('axis') % op.inputs[0].shape.rank
  return _MIXED if at == labels[0].axis else _Own(labels[0].axis - (at < labels[0].axis), labels[0].share)


def _split(op, labels):
  value, axis = (1, 0) if op.type == 'Split' else (0, 2)
  at = int(_constant(op, axis)) % op.inputs[value].shape.rank
  apart = isinstance(labels[value], _Own) and at != labels[value].axis and all(
      isinstance(label, _Constant) for place, label in enumerate(labels) if place != value)
  return labels[value] if apart else _MIXED


def _padded(op, labels):
  return labels[0] if not np.any(_constant(op, 1)[labels[0].axis]) and all(
      isinstance(label, _Constant) for label in labels[1:]) else _MIXED


def _slice(op, labels):
  value, begin, size = labels
  if not isinstance(value, _Own) or begin.value is None or size.value is None or begin.value[value.axis] != 0:
    return _MIXED
  taken = size.value[value.axis]
  others = [entry for places in (begin.value, size.value) for axis, entry in enumerate(places) if axis != value.axis]
  whole = taken == _Size(value.share) or _is_number(taken) and taken == -1
  return value if whole and all(map(_is_number, others)) else _MIXED


def _is_number(entry):
  return isinstance(entry, (int, np.integer))


def _strided_slice(op, labels):
  """All examples, with stride one; other axes as they like."""
  value = labels[0]
  if not isinstance(value, _Own) or not all(isinstance(label, (_Constant, _Counted)) for label in labels[1:]):
    return _MIXED
  masks = {name: op.get_attr(f'{name}_mask') for name in ('begin', 'end', 'ellipsis', 'new_axis', 'shrink_axis')}
  entries, rank = op.inputs[1].shape[0], op.inputs[0].shape.rank
  begin, end, strides = labels[1].value, labels[2].value, _constant(op, 3)
  for i in range(entries):
    open_begin, open_end = (masks[name] >> i & 1 for name in ('begin', 'end'))
    if not (open_begin or _is_number(begin[i])) or not (open_end or _is_number(end[i])):
      return _MIXED
  inserted = sum(masks['new_axis'] >> i & 1 for i in range(entries))
  before, after = 0, 0  # Axes of the input, and of the output.
  for i in range(entries):
    if masks['ellipsis'] >> i & 1:
      skipped = rank - (entries - inserted - 1)
      if before <= value.axis < before + skipped:
        return _Own(after + value.axis - before, value.share)
      before, after = before + skipped, after + skipped
    elif masks['new_axis'] >> i & 1:
      after += 1
    else:
      if before == value.axis:
        whole = (masks['begin'] >> i & 1 and masks['end'] >> i & 1 and strides[i] == 1
                 and not masks['shrink_axis'] >> i & 1)
        return _Own(after, value.share) if whole else _MIXED
      before, after = before + 1, after + (not masks['shrink_axis'] >> i & 1)
  return _Own(after + value.axis - before, value.share)


def _tiled(op, labels):
  times = labels[1].value
  return labels[0] if all(map(_is_number, times)) and times[labels[0].axis] == 1 else _MIXED


def _broadcast_to(op, labels):
  shape, value = labels[1].value, labels[0]
  axis = value.axis + len(shape) - op.inputs[0].shape.rank
  others = [entry for at, entry in enumerate(shape) if at != axis]
  good = shape[axis] == _Size(value.share) and all(_is_number(entry) for entry in others)
  return _Own(axis, value.share) if good else _MIXED


def _gathered(op, labels):
  """Rows of a table by an example's own numbers, or the same places of each example."""
  table, indices = labels[:2]
  if 'batch_dims' in op.node_def.attr and op.get_attr('batch_dims'):
    return _MIXED
  axis = int(_constant(op, 2)) % op.inputs[0].shape.rank if op.type == 'GatherV2' else 0
  if isinstance(table, _Constant) and isinstance(indices, _Own):
    return _Own(axis + indices.axis, indices.share)
  if isinstance(table, _Own) and isinstance(indices, _Constant) and table.axis != axis:
    return _Own(table.axis + (op.inputs[1].shape.rank - 1 if axis < table.axis else 0), table.share)
  return _MIXED


def _one_hot(op, labels):
  at = op.get_attr('axis')
  inserted = at != -1 and at <= labels[0].axis
  good = isinstance(labels[0], _Own) and all(isinstance(label, _Constant) for label in labels[1:])
  return _Own(labels[0].axis + inserted, labels[0].share) if good else _MIXED


def _called(op, labels):
  """A call of a traced function."""
  body = _body(op.graph, op.get_attr('f').name)
  known = {tensor.ref(): label for tensor, label in zip(body.inputs, labels, strict=True)}
  found = _labels(body, known)
  return [found[tensor.ref()] for tensor in body.outputs]


_UNARY = ('Abs', 'Cast', 'Ceil', 'CheckNumerics', 'Cos', 'Cosh', 'Elu', 'Erf', 'Erfc', 'Exp', 'Expm1', 'Floor',
          'Identity', 'IdentityN', 'Inv', 'IsFinite', 'IsInf', 'IsNan', 'LeakyRelu', 'Lgamma', 'Log', 'Log1p',
          'LogicalNot', 'Neg', 'OnesLike', 'PreventGradient', 'Reciprocal', 'Relu', 'Relu6', 'Rint', 'Round', 'Rsqrt',
          'Selu', 'Sigmoid', 'Sign', 'Sin', 'Sinh', 'Snapshot', 'Softplus', 'Softsign', 'Sqrt', 'Square',
          'StopGradient', 'Tan', 'Tanh', 'ZerosLike')
_BROADCASTING = ('Add', 'AddN', 'AddV2', 'Atan2', 'ClipByValue', 'Div', 'DivNoNan', 'Equal', 'FloorDiv', 'FloorMod',
                 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr', 'Maximum', 'Minimum', 'Mod',
                 'Mul', 'MulNoNan', 'NotEqual', 'Pow', 'RealDiv', 'SelectV2', 'SquaredDifference', 'Sub', 'Xdivy',
                 'Xlogy')
_KEEP_SHAPE = (*_UNARY, 'FusedBatchNormV3', 'Reshape')
_ON_IMAGES = ('AvgPool', 'AvgPool3D', 'Conv2D', 'Conv3D', 'DepthToSpace', 'DepthwiseConv2dNative', 'LRN', 'MaxPool',
              'MaxPool3D', 'ResizeArea', 'ResizeBicubic', 'ResizeBilinear', 'ResizeNearestNeighbor', 'SpaceToDepth',
              'ExtractImagePatches')
_RULES: dict[str, Callable] = {name: _careful(rule) for name, rule in {
    **dict.fromkeys(_UNARY, _same), **dict.fromkeys(_BROADCASTING, _elementwise), **dict.fromkeys(_ON_IMAGES, _images),
    **dict.fromkeys(('Sum', 'Mean', 'Max', 'Min', 'Prod', 'All', 'Any', 'ArgMax', 'ArgMin', 'EuclideanNorm'),
                    _reduction),
    **dict.fromkeys(('Softmax', 'LogSoftmax', 'TopKV2'), _along_last),
    **dict.fromkeys(('Cumsum', 'Cumprod', 'ReverseV2'), _along_axes),
    **dict.fromkeys(('Pad', 'PadV2', 'MirrorPad'), _padded),
    **dict.fromkeys(('BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3'), _batch_matmul),
    **dict.fromkeys(('GatherV2', 'ResourceGather'), _gathered),
    **dict.fromkeys(('Split', 'SplitV'), _split),
    'SpaceToBatchND': _taken_apart, 'BatchToSpaceND': _put_together, 'BiasAdd': _bias, 'MatMul': _matmul, 'Einsum': _einsum, 'Conv2DBackpropInput': _transposed_convolution,
    'FusedBatchNormV3': _batch_normalization, 'Reshape': _reshape, 'ExpandDims': _expanded, 'Squeeze': _squeezed,
    'Transpose': _transposed, 'ConcatV2': _joined, 'Pack': _packed, 'Unpack': _unpacked, 'Slice': _slice,
    'StridedSlice': _strided_slice, 'Tile': _tiled, 'BroadcastTo': _broadcast_to, 'OneHot': _one_hot,
    'ImageProjectiveTransformV3': _moved, 'PartitionedCall': _called, 'StatefulPartitionedCall': _called,
}.items()}
