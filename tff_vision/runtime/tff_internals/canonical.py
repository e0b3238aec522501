"""Digests of serialized computations that are equal in every process that builds the same computation.

Two processes that build one computation serialize it differently: TFF draws a random cache id, TensorFlow numbers its
functions and nodes by a counter of the process, and protocol buffers write the attributes of a node in the order of a
hash table. None of this changes what is computed. Here names are replaced with the order in which a walk from the
results meets them. Everything else is part of the digest: operations, attributes, constants, types, and the edges
between nodes, so that another graph has another digest.

Not public API: the messages are TFF's and TensorFlow's own.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.runtime.tff_internals import graph_names

# Say which Python function makes a gradient graph, which an executor does not make, and what a data set is called in
# statistics. Both hold a process's counter.
_IGNORED_ATTRIBUTES = frozenset({'_gradient_op_type', 'metadata'})
_COLOCATED = b'loc:@'


def computation(message: computation_pb2.Computation) -> str:
  """Returns the SHA-256 of a computation in its canonical form, in hexadecimal digits.

  Raises:
    ValueError: The message holds something that is no part of a computation.
  """
  return _Walk().digest(message, {}).hex()


def dataset(serialized_graph: bytes) -> str:
  """Returns the digest of a data set's graph without the numbers in its constants: what the graph does with numbers."""
  graph = graph_pb2.GraphDef.FromString(serialized_graph)
  return _Graph(graph, numbers=False).digest([node.name for node in graph.node if node.op == '_Retval']).hex()


class _Walk:
  """One pass over a computation; names of parameters and locals become the order in which they are bound."""

  def __init__(self):
    self._bound = 0

  def digest(self, message: Any, names: Mapping[str, bytes]) -> bytes:
    kind = message.WhichOneof('computation')
    if kind is None:
      raise ValueError('a computation is empty.')
    part = getattr(message, kind)
    found = getattr(self, f'_{kind}', self._plain)(part, names)
    return _hash(kind.encode(), message.type.SerializeToString(deterministic=True), found)

  def _plain(self, part, names):
    del names
    return part.SerializeToString(deterministic=True)

  def _bind(self, names, name):
    self._bound += 1
    return {**names, name: b'%d' % self._bound}

  def _lambda(self, part, names):
    if part.parameter_name:
      names = self._bind(names, part.parameter_name)
    return _hash(names.get(part.parameter_name, b''), self.digest(part.result, names))

  def _block(self, part, names):
    found = []
    for local in part.local:
      found.append(self.digest(local.value, names))
      names = self._bind(names, local.name)
    return _hash(*found, self.digest(part.result, names))

  def _reference(self, part, names):
    if part.name not in names:
      raise ValueError(f'a computation refers to {part.name!r}, which it does not define.')
    return names[part.name]

  def _call(self, part, names):
    argument = self.digest(part.argument, names) if part.HasField('argument') else b''
    return _hash(self.digest(part.function, names), argument)

  def _struct(self, part, names):
    return _hash(*(_hash(one.name.encode(), self.digest(one.value, names)) for one in part.element))

  def _selection(self, part, names):
    return _hash(b'%d' % part.index, self.digest(part.source, names))

  def _tensorflow(self, part, names):
    del names
    graph = graph_pb2.GraphDef()
    if not part.graph_def.Unpack(graph):
      raise ValueError('a computation holds something that is no TensorFlow graph.')
    bound = [tensor for binding in (part.parameter, part.result) for tensor in graph_names.tensors_of(binding)]
    single = [name for name in (part.initialize_op, part.session_token_tensor_name) if name]
    walked = _Graph(graph, numbers=True)
    body = walked.digest([*bound, *single])
    return _hash(body, *(_binding(binding, walked.label) for binding in (part.parameter, part.result)),
                 *(walked.label(name) for name in (part.initialize_op, part.session_token_tensor_name)))


class _Graph:
  """A graph, or the body of one of its functions, whose nodes are numbered from what it returns."""

  def __init__(self, graph: Any, *, numbers: bool):
    """Args: `numbers`: whether numeric constants count."""
    self._functions = _Functions(graph.library, numbers)
    self._nodes = _Nodes(graph.node, self._functions, numbers)
    self._versions = graph.versions.SerializeToString(deterministic=True)

  def digest(self, returned: Sequence[str]) -> bytes:
    return _hash(self._nodes.digest(returned), self._functions.everything(), self._versions)

  def label(self, tensor: str) -> bytes:
    return self._nodes.label(tensor) if tensor else b''


class _Functions:
  """The function library of a graph; a function is named by the digest of its body."""

  def __init__(self, library, numbers):
    self._defined = {one.signature.name: one for one in library.function}
    if len(self._defined) != len(library.function):
      raise ValueError('a graph defines a function twice.')
    self._gradients = library.gradient
    self._rest = [one.SerializeToString(deterministic=True) for one in library.registered_gradients]
    self._numbers = numbers
    self._found: dict[str, bytes | None] = {}

  def __contains__(self, name: str) -> bool:
    return name in self._defined

  def digest(self, name: str) -> bytes:
    if name not in self._defined:  # An operation of TensorFlow.
      return b'operation ' + name.encode()
    if name not in self._found:
      self._found[name] = None
      self._found[name] = self._body(self._defined[name])
    if (found := self._found[name]) is None:
      raise ValueError('a function of a graph calls itself.')
    return found

  def everything(self) -> bytes:
    """Returns the digest of all functions, also of those that nothing calls: TensorFlow may put one in for another."""
    gradients = sorted(_hash(self.digest(one.function_name), self.digest(one.gradient_func))
                       for one in self._gradients)
    return _hash(*sorted(self.digest(name) for name in self._defined), b'gradients', *gradients, *sorted(self._rest))

  def _body(self, function):
    signature = function.signature
    nodes = _Nodes(function.node_def, self, self._numbers, arguments=[one.name for one in signature.input_arg])
    returned = [function.ret[one.name] for one in signature.output_arg]
    controls = [function.control_ret[name] for name in signature.control_output]
    body = nodes.digest([*returned, *controls])
    kinds = [_unnamed(one) for one in (*signature.input_arg, *signature.output_arg)]
    places = [_hash(b'%d' % place, *_attributes(function.arg_attr[place].attr, self, nodes.label, self._numbers))
              for place in sorted(function.arg_attr)]
    unique = [b'%d=%d' % pair for pair in sorted(function.resource_arg_unique_id.items())]
    return _hash(body, *kinds, *map(nodes.label, [*returned, *controls]), b'stateful' * signature.is_stateful,
                 *_attributes(function.attr, self, nodes.label, self._numbers), b'arguments', *places, *unique)


class _Nodes:
  """Nodes, numbered by a walk from what is returned: first data, then control edges, then nodes that nothing needs."""

  def __init__(self, nodes: Iterable[Any], functions: _Functions, numbers: bool, arguments: Sequence[str] = ()):
    self._nodes = {node.name: node for node in nodes}
    self._functions = functions
    self._numbers = numbers
    self._labels = {name: place for place, name in enumerate(arguments)}
    self._arguments = len(arguments)
    if len(self._nodes) != len(list(nodes)) or self._nodes.keys() & self._labels.keys():
      raise ValueError('a graph gives a name to two nodes.')

  def digest(self, returned: Sequence[str]) -> bytes:
    order: list[str] = []
    for start in [*map(graph_names.node_of, returned), *self._nodes]:
      waiting = [start]
      while waiting:
        name = waiting.pop()
        if name in self._labels:
          continue
        if name not in self._nodes:
          raise ValueError(f'a graph refers to {name!r}, which it does not have.')
        self._labels[name] = self._arguments + len(order)
        order.append(name)
        waiting.extend(map(graph_names.node_of, reversed(self._nodes[name].input)))
    return _hash(*(self._one(self._nodes[name]) for name in order))

  def label(self, tensor: str) -> bytes:
    """Returns the name of a tensor or a control edge in the canonical form."""
    name = graph_names.node_of(tensor)
    rest = tensor.removeprefix('^')[len(name):]
    return b'^' * tensor.startswith('^') + b'%d' % self._labels[name] + (rest or ':0').encode()

  def _one(self, node):
    data = [self.label(one) for one in node.input if not one.startswith('^')]
    controls = sorted(self.label(one) for one in node.input if one.startswith('^'))
    attributes = _attributes(node.attr, self._functions, self.label, self._numbers or _holds_text(node))
    return _hash(self._functions.digest(node.op), node.device.encode(), *data, *controls, b'attributes', *attributes)


def _attributes(attributes: Mapping[str, Any], functions: _Functions, label: Any, numbers: bool) -> Iterator[bytes]:
  for name in sorted(attributes):
    if name in _IGNORED_ATTRIBUTES or not numbers and name in ('output_shapes', '_output_shapes'):
      continue
    value = attributes[name]
    kind = value.WhichOneof('value') or ''
    if kind == 'func':
      found = _called(value.func, functions, label, numbers)
    elif kind == 'list' and value.list.func:
      found = _hash(*(_called(one, functions, label, numbers) for one in value.list.func))
    elif name == '_class':
      found = _hash(*sorted(_colocation(text, label) for text in value.list.s))
    elif kind == 's' and value.s.decode(errors='replace') in functions:
      found = functions.digest(value.s.decode())
    elif kind == 'tensor' and not numbers:
      found = b'%d' % value.tensor.dtype
    else:
      found = value.SerializeToString(deterministic=True)
    yield _hash(name.encode(), kind.encode(), found)


def _called(function, functions, label, numbers):
  return _hash(functions.digest(function.name), *_attributes(function.attr, functions, label, numbers))


def _colocation(text, label):
  """Returns what a node lies beside, by its canonical name."""
  if not text.startswith(_COLOCATED):
    return text
  try:
    return label(text.removeprefix(_COLOCATED).decode())
  except KeyError:
    return text


def _holds_text(node):
  return node.op == 'Const' and node.attr['value'].tensor.dtype == types_pb2.DT_STRING


def _unnamed(argument):
  copy = type(argument)()
  copy.CopyFrom(argument)
  copy.name = ''
  copy.ClearField('description')
  return copy.SerializeToString(deterministic=True)


def _binding(binding, label):
  kind = binding.WhichOneof('binding')
  if kind == 'struct':
    return _hash(b'struct', *(_binding(element, label) for element in binding.struct.element))
  how = binding.sequence.WhichOneof('binding') if kind == 'sequence' else ''
  return _hash((kind or '').encode(), how.encode(), *map(label, graph_names.tensors_of(binding)))


def _hash(*parts: bytes) -> bytes:
  """Returns the digest of a sequence of texts; each is preceded by its length, so that none runs into the next."""
  found = hashlib.sha256()
  for part in parts:
    found.update(b'%d:' % len(part))
    found.update(part)
  return found.digest()
