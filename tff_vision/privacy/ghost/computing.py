"""Rules for operations that compute: which of them keep the examples of a batch apart."""

from collections.abc import Callable

import numpy as np

from tff_vision.privacy.ghost import whole_numbers
from tff_vision.privacy.ghost.labels import MIXED, Constant, Counted, Own, Size, Spread


def _elementwise(op, labels):
  """Broadcasting: the axes of examples must align in all operands, and no other operand may be as long there."""
  return _broadcast([tensor.shape.rank for tensor in op.inputs], list(op.inputs), labels)


def _broadcast(ranks, tensors, labels):
  if any(isinstance(label, Counted) for label in labels) or any(rank is None for rank in ranks):
    return MIXED
  own = {(rank - label.axis, label.share) for rank, label in zip(ranks, labels, strict=True)
         if isinstance(label, Own)}
  if len(own) != 1:
    return MIXED
  from_end, share = own.pop()
  for rank, tensor, label in zip(ranks, tensors, labels, strict=True):
    # A constant that varies along the axis of examples would treat positions in the batch differently.
    if isinstance(label, Constant) and rank >= from_end and tensor.shape[rank - from_end] != 1:
      return MIXED
  return Own(max(ranks) - from_end, share)


def _same(op, labels):
  return list(labels) if len(op.outputs) == len(labels) else labels[0]


def _bias(op, labels):
  value, bias = labels
  channel = 1 if op.get_attr('data_format') == b'NCHW' else op.inputs[0].shape.rank - 1
  return value if isinstance(value, Own) and isinstance(bias, Constant) and value.axis != channel else MIXED


def _matmul(op, labels):
  a, b = labels
  good = isinstance(a, Own) and a.axis == 0 and not op.get_attr('transpose_a') and isinstance(b, Constant)
  return Own(0, a.share) if good else MIXED


def _batch_matmul(op, labels):
  ranks = [tensor.shape.rank for tensor in op.inputs]
  a, b = labels
  if isinstance(a, Own) and a.axis == ranks[0] - 2 and isinstance(b, Constant) and not op.get_attr('adj_x'):
    return Own(max(ranks) - 2, a.share)
  if any(isinstance(label, Own) and label.axis >= rank - 2 for label, rank in zip(labels, ranks, strict=True)):
    return MIXED
  return _broadcast(ranks, list(op.inputs), labels)


def _einsum(op, labels):
  operands, result = op.get_attr('equation').decode().replace(' ', '').split('->')
  operands = operands.split(',')
  if '.' in result or any(len(set(letters)) < len(letters) or '.' in letters for letters in operands):
    return MIXED
  own = {(letters[label.axis], label.share) for letters, label in zip(operands, labels, strict=True)
         if isinstance(label, Own)}
  if len(own) != 1:
    return MIXED
  letter, share = own.pop()
  constants = [letters for letters, label in zip(operands, labels, strict=True) if not isinstance(label, Own)]
  if letter not in result or any(letter in letters for letters in constants):
    return MIXED
  return Own(result.index(letter), share)


def _images(op, labels):
  """Operations on [batch, ...] with constant filters or sizes."""
  windows = [op.get_attr(name)[0] for name in ('ksize', 'strides', 'dilations') if name in op.node_def.attr]
  first = isinstance(labels[0], Own) and labels[0].axis == 0 or isinstance(labels[0], Spread)
  good = first and all(isinstance(label, Constant) for label in labels[1:]) and set(windows) <= {1}
  return labels[0] if good else MIXED


def _taken_apart(op, labels):
  good = labels[0] == Own(0) and all(isinstance(label, Constant) for label in labels[1:])
  return Spread(tuple(int(size) for size in whole_numbers.constant(op, 1))) if good else MIXED


def _put_together(op, labels):
  block = tuple(int(size) for size in whole_numbers.constant(op, 1))
  good = labels[0] == Spread(block) and all(isinstance(label, Constant) for label in labels[1:])
  return Own(0) if good else MIXED


def _moved(op, labels):
  """Each image is transformed by its own transformation."""
  images, transformations, *others = labels
  same = images == transformations == Own(0) and all(isinstance(label, Constant) for label in others)
  return images if same else MIXED


def _transposed_convolution(op, labels):
  sizes, filters, values = labels
  if not (isinstance(values, Own) and values.axis == 0 and isinstance(filters, Constant)
          and isinstance(sizes, Counted) and sizes.value[0] == Size(values.share)):
    return MIXED
  return values


def _batch_normalization(op, labels):
  value, others = labels[0], labels[1:]
  channel = 1 if op.get_attr('data_format') == b'NCHW' else 3
  if not isinstance(value, Own):
    return MIXED
  if value.axis == channel:  # This is how Keras normalises layers: each example is a channel.
    same = Own(0, value.share)
    good = op.get_attr('is_training') and all(label == same for label in others[:2])
    return [value, same, same, same, same, MIXED][:len(op.outputs)] if good else MIXED
  good = not op.get_attr('is_training') and all(isinstance(label, Constant) for label in others)
  return [value] + [MIXED] * (len(op.outputs) - 1) if good else MIXED


def _reduction(op, labels):
  value, rank = labels[0], op.inputs[0].shape.rank
  axes = {int(axis) % rank for axis in np.ravel(whole_numbers.constant(op, 1))}
  if not isinstance(value, Own) or value.axis in axes:
    return MIXED
  kept = 'keep_dims' in op.node_def.attr and op.get_attr('keep_dims')
  return value if kept else Own(value.axis - sum(axis < value.axis for axis in axes), value.share)


def _along_last(op, labels):
  apart = all(isinstance(label, Constant) for label in labels[1:])
  return labels[0] if apart and labels[0].axis != op.inputs[0].shape.rank - 1 else MIXED


def _along_axes(op, labels):
  """Cumulative sums and reversals."""
  rank = op.inputs[0].shape.rank
  axes = {int(axis) % rank for axis in np.ravel(whole_numbers.constant(op, 1))}
  return MIXED if labels[0].axis in axes else labels[0]


UNARY = ('Abs', 'Cast', 'Ceil', 'CheckNumerics', 'Cos', 'Cosh', 'Elu', 'Erf', 'Erfc', 'Exp', 'Expm1', 'Floor',
          'Identity', 'IdentityN', 'Inv', 'IsFinite', 'IsInf', 'IsNan', 'LeakyRelu', 'Lgamma', 'Log', 'Log1p',
          'LogicalNot', 'Neg', 'OnesLike', 'PreventGradient', 'Reciprocal', 'Relu', 'Relu6', 'Rint', 'Round', 'Rsqrt',
          'Selu', 'Sigmoid', 'Sign', 'Sin', 'Sinh', 'Snapshot', 'Softplus', 'Softsign', 'Sqrt', 'Square',
          'StopGradient', 'Tan', 'Tanh', 'ZerosLike')
_BROADCASTING = ('Add', 'AddN', 'AddV2', 'Atan2', 'ClipByValue', 'Div', 'DivNoNan', 'Equal', 'FloorDiv', 'FloorMod',
                 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr', 'Maximum', 'Minimum', 'Mod',
                 'Mul', 'MulNoNan', 'NotEqual', 'Pow', 'RealDiv', 'SelectV2', 'SquaredDifference', 'Sub', 'Xdivy',
                 'Xlogy')
_ON_IMAGES = ('AvgPool', 'AvgPool3D', 'Conv2D', 'Conv3D', 'DepthToSpace', 'DepthwiseConv2dNative', 'LRN', 'MaxPool',
              'MaxPool3D', 'ResizeArea', 'ResizeBicubic', 'ResizeBilinear', 'ResizeNearestNeighbor', 'SpaceToDepth',
              'ExtractImagePatches')
RULES: dict[str, Callable] = {
    **dict.fromkeys(UNARY, _same), **dict.fromkeys(_BROADCASTING, _elementwise), **dict.fromkeys(_ON_IMAGES, _images),
    **dict.fromkeys(('Sum', 'Mean', 'Max', 'Min', 'Prod', 'All', 'Any', 'ArgMax', 'ArgMin', 'EuclideanNorm'),
                    _reduction),
    **dict.fromkeys(('Softmax', 'LogSoftmax', 'TopKV2'), _along_last),
    **dict.fromkeys(('Cumsum', 'Cumprod', 'ReverseV2'), _along_axes),
    **dict.fromkeys(('BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3'), _batch_matmul),
    'BiasAdd': _bias, 'MatMul': _matmul, 'Einsum': _einsum, 'Conv2DBackpropInput': _transposed_convolution,
    'FusedBatchNormV3': _batch_normalization, 'SpaceToBatchND': _taken_apart, 'BatchToSpaceND': _put_together,
    'ImageProjectiveTransformV3': _moved,
}
