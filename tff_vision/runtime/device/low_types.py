"""Puts the products of marked passes into a type of 16 bits, as mixed precision does.

The factors of a marked convolution or matrix product are cast, the product is computed in the low type, and its result
is cast back. Everything else keeps its type, so weights, gradients, updates and sums are float32. What is marked says
`tff_vision.passes`.

TensorFlow's own rewriter, a pass of its graph optimiser, changes whole graphs, with what must stay exact in them.

Not public API: the messages are TensorFlow's own.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import kernels, op_def_registry

from tff_vision import passes
from tff_vision.runtime.tff_internals import graph_names

# Operations whose attribute T is the type of all factors and of the only result.
PRODUCTS = frozenset({
    'MatMul', 'BatchMatMul', 'BatchMatMulV2', 'Einsum', 'Conv2D', 'Conv2DBackpropInput', 'Conv2DBackpropFilter',
    'DepthwiseConv2dNative', 'DepthwiseConv2dNativeBackpropInput', 'DepthwiseConv2dNativeBackpropFilter', 'Conv3D',
    'Conv3DBackpropInputV2', 'Conv3DBackpropFilterV2'})
_LOW = '__low'


@dataclasses.dataclass(frozen=True)
class LowType:
  """How products are computed.

  Attributes:
    type: float16 or bfloat16.
    kinds: The kinds of devices that run them, such as `GPU`.
    lacking: Called with an operation that stays in float32 because one of these devices has no kernel for it.
  """
  type: tf.DType
  kinds: frozenset[str]
  lacking: Callable[[str], None]

  def rewrite(self, graph: graph_pb2.GraphDef) -> None:
    """Rewrites the marked products of a graph in place, and those of the functions that marked nodes call."""
    _Rewriting(self, graph.library).whole(graph)

  def has_kernels(self, operation: str) -> bool:
    """Returns whether every device has a kernel for an operation in the low type."""
    return all(_has_kernel(operation, kind, self.type.as_datatype_enum) for kind in self.kinds)


class _Rewriting:
  """The rewriting of one graph with its functions."""

  def __init__(self, low, library):
    self._low, self._library = low, library
    self._copies: dict[str, str] = {}

  def whole(self, graph):
    for function in list(self._library.function):
      self._function(function, everything=False)
    self._nodes(graph.node, everything=False, in_function=False)

  def _function(self, function, *, everything):
    lowered = self._nodes(function.node_def, everything=everything, in_function=True)
    for name, tensor in function.ret.items():
      function.ret[name] = _after_cast(tensor, lowered)

  def _nodes(self, nodes, *, everything, in_function):
    """Rewrites the nodes of one graph or function; returns the names of the products."""
    marked = [node for node in nodes if everything or passes.is_marked(node)]
    for node in marked:
      for called in graph_names.called(node):
        called.name = self._copy(called.name)
    chosen = [node for node in marked if self._fits(node)]
    names = {node.name for node in chosen}
    if in_function:  # There the name of an output contains that of its operation's result.
      for node in nodes:
        for place, given in enumerate(node.input):
          node.input[place] = _after_cast(given, names)
    casts: dict[str, str] = {}
    for node in chosen:
      for place in _factors(node):
        node.input[place] = self._cast(nodes, node.input[place], casts, in_function)
      result = f'{node.name}{_LOW}'
      if in_function:
        result += f':{op_def_registry.get(node.op).output_arg[0].name}:0'
      # The cast of the result takes over the name, so that everything else finds the result.
      _add_cast(nodes, node.name, result, self._low.type, tf.float32)
      node.name += _LOW
      node.attr['T'].type = self._low.type.as_datatype_enum
    return names

  def _copy(self, name):
    """Returns the name of a copy of a function with all products low; unmarked nodes may call the function too."""
    if name in self._copies.values():  # A function that was rewritten before calls a copy already.
      return name
    if name not in self._copies:
      self._copies[name] = name + _LOW
      copy = self._library.function.add()
      copy.CopyFrom(next(function for function in self._library.function if function.signature.name == name))
      copy.signature.name = name + _LOW
      self._function(copy, everything=True)
    return self._copies[name]

  def _fits(self, node):
    if node.op not in PRODUCTS or node.attr['T'].type != tf.float32.as_datatype_enum:
      return False
    if not self._low.has_kernels(node.op):
      self._low.lacking(node.op)
      return False
    return True

  def _cast(self, nodes, given, casts, in_function):
    """Returns the tensor `given` in the low type; it is cast once for all products."""
    if given not in casts:
      name = f'{given.replace(":", "_")}{_LOW}_{len(casts)}'
      _add_cast(nodes, name, given, tf.float32, self._low.type)
      casts[given] = f'{name}:y:0' if in_function else name
    return casts[given]


def _add_cast(nodes, name, given, before, after):
  made = nodes.add(name=name, op='Cast', input=[given])
  made.attr['SrcT'].type, made.attr['DstT'].type = before.as_datatype_enum, after.as_datatype_enum
  made.attr['Truncate'].b = False
  passes.mark(made)


def _after_cast(tensor, names):
  """Returns an input of a function's node, or a result of the function, if these nodes have become casts."""
  name = tensor.partition(':')[0]
  return f'{name}:y:0' if name in names and ':' in tensor else tensor


def _factors(node) -> Iterator[int]:
  """Yields the positions of the inputs of type T."""
  place = 0
  for argument in op_def_registry.get(node.op).input_arg:
    count = node.attr[argument.number_attr].i if argument.number_attr else 1
    if argument.type_attr == 'T':
      yield from range(place, place + count)
    place += count


@functools.cache
def _has_kernel(operation, kind, low):
  for kernel in kernels.get_registered_kernels_for_op(operation).kernel:
    allowed = [low in constraint.allowed_values.list.type for constraint in kernel.constraint if constraint.name == 'T']
    if kernel.device_type == kind and all(allowed):
      return True
  return False
