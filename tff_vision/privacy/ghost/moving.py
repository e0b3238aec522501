"""Rules for operations that move the entries of a tensor: on which axis the examples are afterwards."""

from collections.abc import Callable

import numpy as np

from tff_vision.privacy.ghost import whole_numbers
from tff_vision.privacy.ghost.labels import MIXED, Constant, Counted, Own, Size, is_number


def _reshape(op, labels):
  """Examples stay together if they are the outermost axis before and after."""
  value = labels[0]
  before = value.shape or tuple(op.inputs[0].shape)
  if not isinstance(labels[1], (Constant, Counted)) or labels[1].value is None:
    return MIXED
  inner = whole_numbers.product_of(before[value.axis + 1:])
  if inner is None or whole_numbers.product_of(before[:value.axis]) != 1:
    return MIXED
  each, shape = value.share * inner, list(labels[1].value)  # Entries of one example.
  unknown = [axis for axis, entry in enumerate(shape) if is_number(entry) and entry == -1]
  sizes = [axis for axis, entry in enumerate(shape) if isinstance(entry, Size)]
  if any(entry is None for entry in shape) or len(unknown) > 1 or len(sizes) > 1:
    return MIXED
  rest = whole_numbers.product_of([entry for entry in shape if not isinstance(entry, Size) and entry != -1])
  if not sizes:
    # The inferred axis holds the examples, because all other axes are the same for every batch.
    if not unknown or not rest or each % rest:
      return MIXED
    shape[unknown[0]], sizes = Size(each // rest), unknown
  elif unknown:
    if each % (rest * shape[sizes[0]].times):
      return MIXED
    shape[unknown[0]] = each // (rest * shape[sizes[0]].times)
  axis = sizes[0]
  outer, inner = whole_numbers.product_of(shape[:axis]), whole_numbers.product_of(shape[axis + 1:])
  if outer != 1 or inner * shape[axis].times != each:
    return MIXED
  return Own(axis, shape[axis].times, tuple(None if at == axis else int(entry) for at, entry in enumerate(shape)))


def _expanded(op, labels):
  at, rank = int(whole_numbers.constant(op, 1)), op.inputs[0].shape.rank
  at = at % (rank + 1)
  return Own(labels[0].axis + (at <= labels[0].axis), labels[0].share)


def _squeezed(op, labels):
  axes = [axis % op.inputs[0].shape.rank for axis in op.get_attr('squeeze_dims')]
  if not axes or labels[0].axis in axes:  # Without explicit axes, a batch of one would lose its batch axis.
    return MIXED
  return Own(labels[0].axis - sum(axis < labels[0].axis for axis in axes), labels[0].share)


def _transposed(op, labels):
  return Own([int(axis) for axis in whole_numbers.constant(op, 1)].index(labels[0].axis), labels[0].share)


def _joined(op, labels):
  axis = int(whole_numbers.constant(op, len(labels) - 1)) % op.inputs[0].shape.rank
  return labels[0] if len(set(labels[:-1])) == 1 and labels[0].axis != axis else MIXED


def _packed(op, labels):
  at = op.get_attr('axis') % (op.inputs[0].shape.rank + 1)
  return Own(labels[0].axis + (at <= labels[0].axis), labels[0].share) if len(set(labels)) == 1 else MIXED


def _unpacked(op, labels):
  at = op.get_attr('axis') % op.inputs[0].shape.rank
  return MIXED if at == labels[0].axis else Own(labels[0].axis - (at < labels[0].axis), labels[0].share)


def _split(op, labels):
  value, axis = (1, 0) if op.type == 'Split' else (0, 2)
  at = int(whole_numbers.constant(op, axis)) % op.inputs[value].shape.rank
  apart = isinstance(labels[value], Own) and at != labels[value].axis and all(
      isinstance(label, Constant) for place, label in enumerate(labels) if place != value)
  return labels[value] if apart else MIXED


def _padded(op, labels):
  return labels[0] if not np.any(whole_numbers.constant(op, 1)[labels[0].axis]) and all(
      isinstance(label, Constant) for label in labels[1:]) else MIXED


def _slice(op, labels):
  value, begin, size = labels
  if not isinstance(value, Own) or begin.value is None or size.value is None or begin.value[value.axis] != 0:
    return MIXED
  taken = size.value[value.axis]
  others = [entry for places in (begin.value, size.value) for axis, entry in enumerate(places) if axis != value.axis]
  whole = taken == Size(value.share) or is_number(taken) and taken == -1
  return value if whole and all(map(is_number, others)) else MIXED


def _strided_slice(op, labels):
  """Takes all examples, with stride one; the other axes may be sliced in any way."""
  value = labels[0]
  if not isinstance(value, Own) or not all(isinstance(label, (Constant, Counted)) for label in labels[1:]):
    return MIXED
  masks = {name: op.get_attr(f'{name}_mask') for name in ('begin', 'end', 'ellipsis', 'new_axis', 'shrink_axis')}
  entries, rank = op.inputs[1].shape[0], op.inputs[0].shape.rank
  begin, end, strides = labels[1].value, labels[2].value, whole_numbers.constant(op, 3)
  for i in range(entries):
    open_begin, open_end = (masks[name] >> i & 1 for name in ('begin', 'end'))
    if not (open_begin or is_number(begin[i])) or not (open_end or is_number(end[i])):
      return MIXED
  inserted = sum(masks['new_axis'] >> i & 1 for i in range(entries))
  before, after = 0, 0  # Axes of the input, and of the output.
  for i in range(entries):
    if masks['ellipsis'] >> i & 1:
      skipped = rank - (entries - inserted - 1)
      if before <= value.axis < before + skipped:
        return Own(after + value.axis - before, value.share)
      before, after = before + skipped, after + skipped
    elif masks['new_axis'] >> i & 1:
      after += 1
    else:
      if before == value.axis:
        whole = (masks['begin'] >> i & 1 and masks['end'] >> i & 1 and strides[i] == 1
                 and not masks['shrink_axis'] >> i & 1)
        return Own(after, value.share) if whole else MIXED
      before, after = before + 1, after + (not masks['shrink_axis'] >> i & 1)
  return Own(after + value.axis - before, value.share)


def _tiled(op, labels):
  times = labels[1].value
  return labels[0] if all(map(is_number, times)) and times[labels[0].axis] == 1 else MIXED


def _broadcast_to(op, labels):
  shape, value = labels[1].value, labels[0]
  axis = value.axis + len(shape) - op.inputs[0].shape.rank
  others = [entry for at, entry in enumerate(shape) if at != axis]
  good = shape[axis] == Size(value.share) and all(is_number(entry) for entry in others)
  return Own(axis, value.share) if good else MIXED


def _gathered(op, labels):
  """Takes table rows by each example's own indices, or the same positions of each example."""
  table, indices = labels[:2]
  if 'batch_dims' in op.node_def.attr and op.get_attr('batch_dims'):
    return MIXED
  axis = int(whole_numbers.constant(op, 2)) % op.inputs[0].shape.rank if op.type == 'GatherV2' else 0
  if isinstance(table, Constant) and isinstance(indices, Own):
    return Own(axis + indices.axis, indices.share)
  if isinstance(table, Own) and isinstance(indices, Constant) and table.axis != axis:
    return Own(table.axis + (op.inputs[1].shape.rank - 1 if axis < table.axis else 0), table.share)
  return MIXED


def _one_hot(op, labels):
  at = op.get_attr('axis')
  inserted = at != -1 and at <= labels[0].axis
  good = isinstance(labels[0], Own) and all(isinstance(label, Constant) for label in labels[1:])
  return Own(labels[0].axis + inserted, labels[0].share) if good else MIXED


RULES: dict[str, Callable] = {
    **dict.fromkeys(('Pad', 'PadV2', 'MirrorPad'), _padded), **dict.fromkeys(('GatherV2', 'ResourceGather'), _gathered),
    **dict.fromkeys(('Split', 'SplitV'), _split),
    'Reshape': _reshape, 'ExpandDims': _expanded, 'Squeeze': _squeezed, 'Transpose': _transposed, 'ConcatV2': _joined,
    'Pack': _packed, 'Unpack': _unpacked, 'Slice': _slice, 'StridedSlice': _strided_slice, 'Tile': _tiled,
    'BroadcastTo': _broadcast_to, 'OneHot': _one_hot,
}
