"""How an operation runs for several clients at once: its operands and results stacked along a new first axis.

A rule builds TensorFlow operations from those of one client. An operation without a rule runs for one client after the
other inside the same graph, so there is none that cannot be stacked for want of a rule.

Not public API: nodes of serialized graphs are TensorFlow's own.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

# Given the node, its operands, which of them are stacked, and the number of clients; returns stacked results, or None
# if it does not hold for these.
Rule = Callable[[Any, Sequence[tf.Tensor], Sequence[bool], int], Sequence[tf.Tensor] | None]

# All results have the shape of the one operand.
OF_ONE = frozenset(
    'Identity Snapshot StopGradient PreventGradient Cast Neg Abs Sign Square Sqrt Rsqrt Exp Expm1 Log Log1p Sin Cos '
    'Tanh Sigmoid Relu Relu6 Elu Selu LeakyRelu Softplus Softsign Erf Floor Ceil Round Rint Reciprocal Inv IsFinite '
    'IsNan IsInf LogicalNot Invert ZerosLike OnesLike Softmax LogSoftmax'.split())
# All operands and the result have one shape.
ALIKE = frozenset('AddN ReluGrad Relu6Grad EluGrad SeluGrad LeakyReluGrad SoftplusGrad SoftsignGrad TanhGrad '
                  'SigmoidGrad SqrtGrad RsqrtGrad ReciprocalGrad InvGrad'.split())
# Operands of different shapes are broadcast.
BROADCAST = frozenset(
    'Add AddV2 Sub Mul Div RealDiv FloorDiv TruncateDiv FloorMod Mod Maximum Minimum Pow SquaredDifference DivNoNan '
    'MulNoNan Xdivy Xlogy Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr BitwiseAnd BitwiseOr '
    'BitwiseXor LeftShift RightShift SelectV2 BatchMatMulV2'.split())
# The second operand names axes of the first.
_ALONG_AXIS = frozenset('Sum Mean Prod Max Min All Any ArgMax ArgMin ExpandDims Cumsum Cumprod'.split())
# The first axis of so many operands, and of the results, is that of the images of a batch, each of which is computed
# alone; the other operands are the same for all clients.
_IMAGES = {'MaxPool': 1, 'AvgPool': 1, 'MaxPoolGrad': 3, 'ResizeBilinear': 1, 'ResizeNearestNeighbor': 1, 'LRN': 1,
           'Conv2D': 1, 'DepthwiseConv2dNative': 1, 'SoftmaxCrossEntropyWithLogits': 2,
           'SparseSoftmaxCrossEntropyWithLogits': 2}


def stacked(node: Any, operands: Sequence[tf.Tensor], is_stacked: Sequence[bool], count: int) -> Sequence[tf.Tensor]:
  """Returns the stacked results of an operation, in the present graph.

  Args:
    node: The operation as one client has it.
    operands: Its operands; those whose `is_stacked` is true are [count, ...] of those of one client.
    is_stacked: For each operand; true for one at least.
  """
  rule = RULES.get(node.op)
  found = None if rule is None else rule(node, operands, is_stacked, count)
  return found if found is not None else _one_by_one(node, operands, is_stacked, count)


def choice(node: Any, operands: Sequence[tf.Tensor], is_stacked: Sequence[bool], count: int) -> Sequence[tf.Tensor]:
  """Returns, for operands (condition, yes, no), each client's `yes` or `no`; these have the same shape, or it fails.

  An operation that broadcasts would give a client a result in the shape of the way that it did not go.
  """
  return _alike(node, operands, is_stacked, count)


def broadcast(value: tf.Tensor, count: int) -> tf.Tensor:
  """Returns what is the same for all clients as a stacked tensor."""
  return tf.tile(value[None], [count, *[1] * value.shape.rank]) if value.shape.rank is not None else tf.repeat(
      value[None], count, 0)


def _called(node, operands, **changed) -> Sequence[tf.Tensor]:
  """Returns the results of the node's operation for other operands, and with other attributes, which are numbers."""
  attributes = {name: value for name, value in node.attr.items() if not name.startswith('_')}
  attributes |= {name: attr_value_pb2.AttrValue(i=value) for name, value in changed.items()}
  # Not public API: an operation from the attributes of a serialized one.
  return tf.compat.v1.get_default_graph().create_op(
      node.op, list(operands), attrs=attributes, name=node.op.strip('_')).outputs


def _one_by_one(node, operands, is_stacked, count):
  parts = [tf.unstack(one, count) if own else [one] * count for one, own in zip(operands, is_stacked, strict=True)]
  results = [_called(node, [part[client] for part in parts]) for client in range(count)]
  return [tf.stack(one) for one in zip(*results, strict=True)]


def _alike(node, operands, is_stacked, count):
  return _called(node, _all_stacked(operands, is_stacked, count))


def _all_stacked(operands, is_stacked, count):
  """Returns operands as stacked tensors; `is_stacked` may be longer."""
  return [one if own else broadcast(one, count) for one, own in zip(operands, is_stacked, strict=False)]


def _broadcasting(node, operands, is_stacked, count):
  del count
  # Axes of length one go between that of the clients and the others.
  ranks = [_rank(one, own) for one, own in zip(operands, is_stacked, strict=True)]
  most = max(ranks) if all(isinstance(rank, int) for rank in ranks) else tf.reduce_max(tf.stack(ranks))
  return _called(node, [_with_ones(one, most - rank) if own else one
                        for one, own, rank in zip(operands, is_stacked, ranks, strict=True)])


def _rank(value, own):
  """Returns the number of axes that one client has, as a number if it is known before the graph runs."""
  if value.shape.rank is not None:
    return value.shape.rank - own
  return tf.rank(value) - int(own)


def _with_ones(value, more):
  if isinstance(more, int):
    for _ in range(more):
      value = value[:, None]
    return value
  shape = tf.shape(value)
  return tf.reshape(value, tf.concat([shape[:1], tf.ones([more], tf.int32), shape[1:]], 0))


def _behind(axes):
  """Returns axes of one client as axes of a stacked tensor; negative ones count from the end."""
  return axes + tf.cast(axes >= 0, axes.dtype)


def _images(node, operands, is_stacked, count):
  """Puts the images of all clients into one batch."""
  images = _IMAGES[node.op]
  if any(is_stacked[images:]):
    return None
  if node.op == 'SoftmaxCrossEntropyWithLogits':  # It broadcasts batches of one.
    batches = [one.shape[own] if one.shape.rank else None for one, own in zip(operands, is_stacked, strict=True)]
    if batches[0] is None or batches[0] != batches[1]:
      return None
  every = _all_stacked(operands[:images], is_stacked, count)
  flat = [tf.reshape(one, tf.concat([[-1], tf.shape(one)[2:]], 0)) for one in every]
  return [tf.reshape(one, tf.concat([[count, -1], tf.shape(one)[1:]], 0))
          for one in _called(node, [*flat, *operands[images:]])]


def _matmul(node, operands, is_stacked, count):
  del is_stacked, count
  a, b = operands
  return [tf.linalg.matmul(a, b, transpose_a=node.attr['transpose_a'].b, transpose_b=node.attr['transpose_b'].b)]


def _bias_add(node, operands, is_stacked, count):
  value, bias = operands
  if node.attr['data_format'].s == b'NCHW' or value.shape.rank is None:
    return None
  axes = value.shape.rank - is_stacked[0]
  return [value + (tf.reshape(bias, [count, *[1] * (axes - 1), -1]) if is_stacked[1] else bias)]


def _bias_add_grad(node, operands, is_stacked, count):
  value, = operands
  if node.attr['data_format'].s == b'NCHW' or value.shape.rank is None:
    return None
  return [tf.reduce_sum(value, list(range(1, value.shape.rank - 1)))]


def _l2_loss(node, operands, is_stacked, count):
  value, = operands
  return [tf.reduce_sum(tf.square(tf.reshape(value, [count, -1])), 1) / 2]


def _of_first(rule: Callable[..., Sequence[tf.Tensor] | None]) -> Rule:
  """Returns a rule for operations whose first operand differs between clients, and no other one does."""
  @functools.wraps(rule)
  def checked(node, operands, is_stacked, count):
    return None if any(is_stacked[1:]) else rule(node, operands, count)
  return checked


@_of_first
def _plainly(node, operands, count):
  del count
  return _called(node, operands)


@_of_first
def _along_axis(node, operands, count):
  del count
  value, axis = operands
  return _called(node, [value, _behind(axis)])


@_of_first
def _reshape(node, operands, count):
  value, shape = operands
  return _called(node, [value, _put_before([count], shape)])


@_of_first
def _transpose(node, operands, count):
  del count
  value, order = operands
  return _called(node, [value, _put_before([0], order + 1)])


@_of_first
def _tile(node, operands, count):
  del count
  value, multiples = operands
  return _called(node, [value, _put_before([1], multiples)])


@_of_first
def _pad(node, operands, count):
  del count
  value, paddings, *rest = operands
  return _called(node, [value, _put_before([[0, 0]], paddings), *rest])


@_of_first
def _slice(node, operands, count):
  value, begin, size = operands
  return _called(node, [value, _put_before([0], begin), _put_before([count], size)])


@_of_first
def _strided_slice(node, operands, count):
  del count
  value, begin, end, strides = operands
  masks = {name: node.attr[name].i << 1 for name in
           ('begin_mask', 'end_mask', 'ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask')}
  masks['begin_mask'] |= 1
  masks['end_mask'] |= 1
  return _called(node, [value, _put_before([0], begin), _put_before([0], end), _put_before([1], strides)], **masks)


@_of_first
def _one_hot(node, operands, count):
  del count
  return _called(node, operands) if node.attr['axis'].i == -1 else None


def _put_before(first, numbers):
  return tf.concat([tf.constant(first, numbers.dtype), numbers], 0)


def _concat(node, operands, is_stacked, count):
  *parts, axis = operands
  if is_stacked[-1]:
    return None
  return _called(node, [*_all_stacked(parts, is_stacked, count), _behind(axis)])


def _pack(node, operands, is_stacked, count):
  axis = node.attr['axis'].i
  return [tf.stack(_all_stacked(operands, is_stacked, count), axis + (axis >= 0))]


def _unpack(node, operands, is_stacked, count):
  axis = node.attr['axis'].i
  return _called(node, operands, axis=axis + (axis >= 0))


def _gather(node, operands, is_stacked, count):
  value, places, axis = operands
  axis = tf.get_static_value(axis)
  if is_stacked[2] or axis is None or axis < 0 or node.attr['batch_dims'].i:
    return None
  if is_stacked[0]:
    return [tf.gather(value, places, axis=int(axis) + 1, batch_dims=int(is_stacked[1]))]
  return [tf.gather(value, places)] if axis == 0 else None


def _ensure_shape(node, operands, is_stacked, count):
  shape = tf.TensorShape(node.attr['shape'].shape)
  return [tf.ensure_shape(operands[0], tf.TensorShape([count]).concatenate(shape))]


def _shape(node, operands, is_stacked, count):
  """Returns what is the same for all clients: the shapes that one of them has."""
  del count
  return [tf.shape(one, _type_of_shapes(node))[int(own):] for one, own in zip(operands, is_stacked, strict=True)]


def _size(node, operands, is_stacked, count):
  del is_stacked
  return [tf.size(operands[0], _type_of_shapes(node)) // count]


def _type_of_shapes(node):
  return tf.as_dtype(node.attr['out_type'].type or tf.int32)


def _number_of_axes(node, operands, is_stacked, count):
  del node, is_stacked, count
  return [tf.rank(operands[0]) - 1]


RULES: dict[str, Rule] = {
    **dict.fromkeys(OF_ONE, _plainly), **dict.fromkeys(ALIKE, _alike), **dict.fromkeys(BROADCAST, _broadcasting),
    **dict.fromkeys(_ALONG_AXIS, _along_axis), **dict.fromkeys(_IMAGES, _images),
    'MatMul': _matmul, 'BiasAdd': _bias_add, 'BiasAddGrad': _bias_add_grad, 'L2Loss': _l2_loss, 'TopKV2': _plainly,
    'Reshape': _reshape, 'Transpose': _transpose, 'Tile': _tile, 'Pad': _pad, 'PadV2': _pad, 'MirrorPad': _pad,
    'ConcatV2': _concat, 'Pack': _pack, 'Unpack': _unpack, 'StridedSlice': _strided_slice, 'Slice': _slice,
    'GatherV2': _gather, 'OneHot': _one_hot, 'EnsureShape': _ensure_shape, 'Shape': _shape, 'ShapeN': _shape,
    'Size': _size, 'Rank': _number_of_axes}
