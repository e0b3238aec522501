"""TensorFlow computations of TFF as functions of this process.

TFF serializes a computation as a graph with the names of its parameters and results, and of a node that initializes
its variables. A `Leaf` is such a graph on one device. It keeps its variables and tables under names of its own, so that
several copies of a computation can run at the same time.

Not public API: the messages are TFF's and TensorFlow's own.
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.python.eager import context
from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.data import one_element
from tff_vision.runtime.device import overwritten

_ONE_ELEMENT = 'DatasetToSingleElement'
_copies = itertools.count()
_tracing = threading.Lock()  # TensorFlow imports a graph into one function at a time.


# TFF has optimised the graphs already; for processors, doing it again takes a second and changes no number. For a GPU
# it chooses the layout of convolutions.
_NOT_AGAIN = tf.compat.v1.ConfigProto()
_NOT_AGAIN.graph_options.rewrite_options.disable_meta_optimizer = True


@contextlib.contextmanager
def _options(device):
  """Sets how TensorFlow prepares functions in this thread."""
  if not device.startswith('CPU'):
    yield
    return
  ours, before = context.FunctionCallOptions(config_proto=_NOT_AGAIN), context.context().function_call_options
  context.context().function_call_options = ours
  try:
    yield
  finally:
    context.context().function_call_options = before


class Element:
  """The only element of a sequence: its tensors, in the order in which `tf.data` flattens them."""

  def __init__(self, tensors: Sequence[tf.Tensor]):
    self.tensors = tuple(tensors)

  def variant(self) -> tf.Tensor:
    """Returns the sequence as a variant tensor, for graphs that do more than take the element."""
    with tf.device('CPU:0'):
      return _one_element(self.tensors)


@functools.partial(tf.function, reduce_retracing=True)
def _one_element(tensors):
  return tf.data.experimental.to_variant(tf.data.Dataset.from_tensors(tensors).with_options(one_element.options()))


class Program:
  """A serialized TensorFlow computation, unpacked once for all its copies.

  Attributes:
    parameters: The names of the tensors that are given, in order; `results` those that are returned.
    result: How the results are put together.
    is_stateful: Whether calls at the same time need copies of their own, because the graph has variables or tables.
  """

  def __init__(self, message: computation_pb2.TensorFlow):
    """Args: `message` is the part `tensorflow` of a TFF computation.

    Raises:
      ValueError: It is no TensorFlow graph.
    """
    self._graph = graph_pb2.GraphDef()
    if not message.graph_def.Unpack(self._graph):
      raise ValueError('a computation holds something that is no TensorFlow graph.')
    for node in _nodes(self._graph):
      node.attr.pop('_class', None)  # A copy is on one device, and parts of the graph may lack what is named here.
    self.parameters = list(_tensors(message.parameter)) if message.HasField('parameter') else []
    self.results = list(_tensors(message.result))
    self.result = message.result
    _wait_for_none(self._graph, {overwritten.node_of(name) for name in self.parameters})
    self.token = message.session_token_tensor_name
    self.is_stateful = any(_is_shared(node) for node in _nodes(self._graph))
    self.initializers = self._initializers(message.initialize_op)

  def part(self, tensors: Sequence[str], tag: str, elements: Sequence[int] = ()) -> graph_pb2.GraphDef:
    """Returns the graph of what these tensors need.

    Args:
      tensors: Names of tensors or nodes.
      tag: What follows the names of variables and tables.
      elements: Positions of parameters; in place of the node that takes the element of a sequence, the graph has a
        placeholder for each tensor of the element.
    """
    graph = self._graph
    if elements:
      graph = graph_pb2.GraphDef()
      graph.CopyFrom(self._graph)
      for position in elements:
        _replace_by_placeholders(graph, self.elements[position])
    found = overwritten.above(graph, tensors)
    for node in _nodes(found):
      if _is_shared(node):
        node.attr['shared_name'].s = (_shared_name(node) + tag).encode()
    return found

  @functools.cached_property
  def variables(self) -> list[tuple[str, int]]:
    """The shared names of the variables, without a tag, and their types."""
    return sorted({(_shared_name(node), node.attr['dtype'].type)
                   for node in _nodes(self._graph) if node.op == 'VarHandleOp'})

  @functools.cached_property
  def elements(self) -> dict[int, str]:
    """Position of a sequence among the parameters -> its only user, if this is a node that takes its only element."""
    whole, found = self.part(self._everything, ''), {}
    for position, name in enumerate(self.parameters):
      users = list(_last_users(whole, overwritten.node_of(name)))
      if [user.op for user in users] == [_ONE_ELEMENT]:
        found[position] = users[0].name
    return found

  def specs(self, position: int, *, as_element: bool = False) -> list[tf.TensorSpec]:
    """Returns the types of the tensors that are given for a parameter."""
    if as_element:
      attributes = self._node(self.elements[position]).attr
      return [tf.TensorSpec(tf.TensorShape(shape), kind) for shape, kind in zip(
          attributes['output_shapes'].list.shape, attributes['output_types'].list.type, strict=True)]
    attributes = self._node(overwritten.node_of(self.parameters[position])).attr
    is_sequence = attributes['dtype'].type == types_pb2.DT_VARIANT
    return [tf.TensorSpec([] if is_sequence else tf.TensorShape(attributes['shape'].shape), attributes['dtype'].type)]

  @property
  def _everything(self):
    return [*self.results, *self.initializers]

  def _node(self, name):
    return next(node for node in self._graph.node if node.name == name)

  def _initializers(self, operation):
    """Returns the operations that must run before each call."""
    if not operation:
      return []
    nodes = {node.name: node for node in self._graph.node}
    found, seen, waiting = [], set(), [overwritten.node_of(operation)]
    while waiting:
      node = nodes[waiting.pop()]
      if node.name in seen:
        continue
      seen.add(node.name)
      if node.op == 'NoOp':
        waiting.extend(overwritten.node_of(given) for given in node.input)
      else:
        found.append(node)
    vain = overwritten.variables(self._graph, [overwritten.node_of(name) for name in self.results])
    return sorted(node.name for node in found
                  if not (node.op == 'AssignVariableOp' and overwritten.node_of(node.input[0]) in vain))


class Leaf:
  """A copy of a program on one device. If the program is stateful, the copy runs one call at a time."""

  def __init__(self, program: Program, device: str):
    """Args: `device` as TensorFlow names it, such as `GPU:0`."""
    self._program = program
    self._device = device
    self._tag = f'__copy_{next(_copies)}' if program.is_stateful else ''
    self._functions: dict[tuple[int, ...], tuple[Any, ...]] = {}
    self._turn = threading.Lock() if program.is_stateful else contextlib.nullcontext()

  def __call__(self, arguments: Sequence[tf.Tensor | Element]) -> list[tf.Tensor]:
    """Runs the computation.

    Args:
      arguments: A tensor for each of the program's parameters; for a sequence its variant, or its only `Element`.

    Raises:
      tf.errors.OpError: The graph fails; `ResourceExhaustedError` if the device has too little memory.
    """
    direct = tuple(position for position, argument in enumerate(arguments)
                   if isinstance(argument, Element) and position in self._program.elements)
    flat: list[tf.Tensor] = []
    for position, argument in enumerate(arguments):
      if not isinstance(argument, Element):
        flat.append(argument)
      elif position in direct:
        flat.extend(argument.tensors)
      else:
        flat.append(argument.variant())
    with tf.device(self._device), self._turn, _options(self._device):
      found = []
      for function in self._traced(direct):  # First the initial values of variables, then the results.
        found = function(*flat)
      return found

  def close(self) -> None:
    """Frees the variables."""
    self._functions.clear()
    if not self._tag:
      return
    with tf.device(self._device):
      for name, kind in self._program.variables:
        handle = tf.raw_ops.VarHandleOp(dtype=kind, shape=tf.TensorShape(None), shared_name=name + self._tag)
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)

  @property
  def functions(self) -> list[Any]:
    """The functions that were traced, with their graphs."""
    return [function for functions in self._functions.values() for function in functions]

  def _traced(self, direct):
    with _tracing:
      if direct not in self._functions:
        program = self._program
        made = [self._wrapped(direct, program.initializers)] if program.initializers else []
        self._functions[direct] = (*made, self._wrapped(direct, program.results))
      return self._functions[direct]

  def _wrapped(self, direct, returned):
    """Returns a function of the flat arguments that runs `returned`, which are tensors or operations."""
    program, graph = self._program, self._program.part(returned, self._tag, direct)
    present = {node.name for node in graph.node}
    specs = [program.specs(position, as_element=position in direct) for position in range(len(program.parameters))]

    def run(*flat):
      given, fed = iter(flat), {}
      for position, (name, kinds) in enumerate(zip(program.parameters, specs, strict=True)):
        tensors = [next(given) for _ in kinds]
        names = [name]
        if position in direct:
          names = [_placeholder(program.elements[position], i) for i in range(len(kinds))]
        fed |= {name: tensor for name, tensor in zip(names, tensors, strict=True)
                if overwritten.node_of(name) in present}
      if program.token and overwritten.node_of(program.token) in present:
        fed[program.token] = tf.constant('')
      found = tf.graph_util.import_graph_def(graph, input_map=fed, return_elements=list(returned), name='')
      with tf.control_dependencies([one for one in found if isinstance(one, tf.Operation)]):
        return [tf.constant(True) if isinstance(one, tf.Operation) else tf.identity(one) for one in found]

    return tf.compat.v1.wrap_function(run, list(itertools.chain(*specs)))


def _tensors(binding) -> Iterator[str]:
  """Yields the names of the tensors of a binding, in order."""
  kind = binding.WhichOneof('binding')
  if kind == 'tensor':
    yield binding.tensor.tensor_name
  elif kind == 'sequence':
    yield getattr(binding.sequence, binding.sequence.WhichOneof('binding'))
  elif kind == 'struct':
    for element in binding.struct.element:
      yield from _tensors(element)
  elif kind is not None:
    raise ValueError(f'a computation has a parameter or a result of kind {kind}.')


def _nodes(graph):
  return itertools.chain(graph.node, *(function.node_def for function in graph.library.function))


def _is_shared(node):
  """Returns whether a node names something that lives longer than a call."""
  return node.op == 'VarHandleOp' or 'shared_name' in node.attr and bool(
      node.attr['shared_name'].s or node.attr['use_node_name_sharing'].b)


def _shared_name(node):
  return node.attr['shared_name'].s.decode() or node.name


def _placeholder(node, output):
  return f'{node}/element_{output}:0'


def _replace_by_placeholders(graph, name):
  """Replaces a node by a placeholder for each of its outputs."""
  old = next(node for node in graph.node if node.name == name)
  kinds = list(old.attr['output_types'].list.type)
  graph.node.remove(old)
  _wait_for_none(graph, {name})
  for node in graph.node:
    for place, given in enumerate(node.input):
      if overwritten.node_of(given) == name:
        node.input[place] = overwritten.node_of(_placeholder(name, int(given.partition(':')[2] or 0)))
  for output, kind in enumerate(kinds):
    made = graph.node.add(name=overwritten.node_of(_placeholder(name, output)), op='Placeholder')
    made.attr['dtype'].type = kind
    made.attr['shape'].shape.unknown_rank = True


def _wait_for_none(graph, names):
  """Removes the control edges from these nodes, which are given and not computed."""
  for node in graph.node:
    kept = [given for given in node.input if not (given.startswith('^') and overwritten.node_of(given) in names)]
    if len(kept) < len(node.input):
      del node.input[:]
      node.input.extend(kept)


def _last_users(graph, name) -> Iterator[Any]:
  """Yields the nodes that use the output of a node, also through nodes that only pass it on."""
  waiting = [name]
  while waiting:
    source = waiting.pop()
    for node in graph.node:
      if any(overwritten.node_of(given) == source for given in node.input if not given.startswith('^')):
        if node.op == 'Identity':
          waiting.append(node.name)
        else:
          yield node
