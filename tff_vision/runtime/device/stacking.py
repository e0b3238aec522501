"""The graph of a client, rewritten for several clients at once.

Small models leave a device waiting: a step is a chain of short operations. Here each operation of the graph runs once
for several clients, their tensors stacked along a new first axis, and one loop over steps serves them all. What is the
same for all clients stays as it is.

Loops stay loops, so all clients must make the same number of steps: they have tensors of the same shapes. A condition
that clients may decide differently becomes a choice between two results, both of which are computed.

Not public API: the messages are TensorFlow's own.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tff_vision.runtime.device import stacking_rules
from tff_vision.runtime.tff_internals import graph_names

# What they return is the same for clients whose tensors have the same shapes.
_OF_SHAPES = frozenset({'Shape', 'ShapeN', 'Size', 'Rank'})
_WRITING = frozenset({'AssignVariableOp', 'AssignAddVariableOp', 'AssignSubVariableOp'})
# Updates of a variable, number by number -> the place of the gradient; other numbers are the same for all clients.
_STEPS = {'ResourceApplyGradientDescent': 2, 'ResourceApplyMomentum': 3, 'ResourceApplyKerasMomentum': 3,
          'ResourceApplyAdagradV2': 4, 'ResourceApplyRMSProp': 7, 'ResourceApplyAdam': 9}
_OF_VARIABLES = frozenset({'VarHandleOp', 'ReadVariableOp', *_WRITING, *_STEPS})
_FLOW = frozenset({'Enter', 'Merge', 'Switch', 'NextIteration', 'Exit'})


class CannotStack(ValueError):
  """The clients of a graph cannot be computed in one call."""


@dataclasses.dataclass(frozen=True)
class Stacked:
  """A graph for several clients.

  Attributes:
    results: The names of the tensors, or nodes, that stand for those that were asked for.
    is_stacked: For each of them, whether it is [clients, ...] of what one client returns; else all clients return it.
  """
  graph: graph_pb2.GraphDef
  results: Sequence[str]
  is_stacked: Sequence[bool]


def stack(graph: graph_pb2.GraphDef, given: Collection[str], results: Sequence[str], count: int) -> Stacked:
  """Rewrites a graph.

  Args:
    graph: The graph of one client, without functions that have variables; placeholders have the shapes of one client.
    given: The names of the placeholders that receive the tensors of `count` clients, stacked.
    results: Names of tensors or nodes.

  Raises:
    CannotStack: It holds something that depends on a client in another way than by numbers: the number of steps, random
      numbers without a seed, tables, or a variable that is written only by some clients.
  """
  return _Stacking(graph, frozenset(given), count).made(results)


class _Stacking:
  """One rewriting."""

  def __init__(self, graph, given, count):
    self._before, self._given, self._count = graph, given, count
    self._nodes = {node.name: node for node in graph.node}
    self._order = list(_ordered(self._nodes))
    self._shapes = _shapes(graph)
    self._guards, self._choices, self._undecided = _guards(self._nodes, self._order)
    self._stacked = self._found()
    self._graph = graph_pb2.GraphDef(library=graph.library, versions=graph.versions)
    self._names: dict[tuple[str, int], str] = {}
    self._made = 0
    self._prefix = 'stacked'
    while any(name.startswith(self._prefix) for name in self._nodes):
      self._prefix += '_'

  def made(self, results):
    for name in self._order:
      self._add(self._nodes[name])
    return Stacked(self._graph, [self._result(name) for name in results],
                   [':' in name and self._is_stacked(name) for name in results])

  def _result(self, name):
    found = self._input(name)
    return found if ':' not in name or ':' in found else f'{found}:0'

  # Which tensors are stacked.

  def _found(self):
    """Returns the names of the nodes whose results are stacked."""
    stacked: set[str] = set()
    while True:
      before = len(stacked)
      for name in self._order:
        node = self._nodes[name]
        if name not in stacked and self._becomes_stacked(node, stacked):
          stacked.add(name)
        if name in stacked and _is_loop(node, self._nodes):  # All values of a loop variable are alike.
          stacked.update(graph_names.node_of(given) for given in _data(node))
      if len(stacked) == before:
        return stacked

  def _becomes_stacked(self, node, stacked):
    if node.op in _OF_SHAPES or node.op == 'VarHandleOp' or self._shapes.is_resource(node):
      return False
    if node.op == 'ReadVariableOp' or node.name in self._given:
      return True
    if node.op == 'Switch':
      return graph_names.node_of(node.input[0]) in stacked
    if node.op == 'Merge' and node.name in self._choices:
      if graph_names.node_of(self._choices[node.name][0]) in stacked:
        return True
    return any(graph_names.node_of(given) in stacked for given in _data(node))

  def _is_choice(self, node, stacked):
    """Returns whether a `Switch` follows a condition that clients may decide differently."""
    return graph_names.node_of(_origin(self._nodes, node.input[1])) in stacked

  def _is_stacked(self, tensor):
    return graph_names.node_of(tensor) in self._stacked

  # The new graph.

  def _add(self, node):
    if node.op == 'LoopCond' and any(map(self._is_stacked, _data(node))):
      raise CannotStack(f'{node.name}: clients may make different numbers of steps.')
    if node.op not in _OF_VARIABLES and _is_stateful(node):
      raise CannotStack(f'{node.name} ({node.op}) has a state.')
    if node.op == 'Switch' and self._is_choice(node, self._stacked):
      for output in range(2):
        self._names[node.name, output] = self._input(node.input[0])
      self._anchor(node, [self._input(given) for given in _data(node)])
    elif node.op == 'Merge' and node.name in self._choices and self._is_stacked(self._choices[node.name][0]):
      self._choose(node)
    elif any(map(self._is_stacked, self._undecided.get(node.name, ()))):
      raise CannotStack(f'{node.name} waits for one of several ways, and clients may go different ones.')
    elif node.op in _FLOW:
      self._keep(node)
    elif node.op == 'VarHandleOp':
      kept = self._keep(node)
      kept.attr['shape'].shape.CopyFrom(self._more(kept.attr['shape'].shape))
    elif any(self._shapes.is_resource_tensor(given) for given in _data(node)) or self._shapes.is_resource(node):
      self._variable(node)
    elif node.name in self._given or not any(map(self._is_stacked, _data(node))):
      self._keep(node)
    else:
      self._inline(node)

  def _copy(self, node):
    kept = self._graph.node.add()
    kept.CopyFrom(node)
    kept.attr.pop('_output_shapes', None)
    return kept

  def _keep(self, node):
    """Adds a node as it is; where its result is stacked, with what is the same for all clients repeated for each."""
    lifted = node.name in self._stacked and node.op != 'Placeholder'
    kept = self._copy(node)
    kept.input[:] = [
        given if not _is_tensor(given) else self._lifted(given) if lifted and (place == 0 or node.op == 'Merge')
        else self._input(given) for place, given in enumerate(node.input)]
    return kept

  def _variable(self, node):
    """Adds an operation on a variable; each variable is stacked."""
    if node.op not in _OF_VARIABLES and node.op != 'Identity':
      raise CannotStack(f'{node.name} ({node.op}) does more with a variable than to read and write it.')
    writes = node.op in _WRITING or node.op in _STEPS
    if writes and any(self._is_stacked(condition) for condition, _ in self._guards[node.name]):
      raise CannotStack(f'{node.name} writes a variable for some clients only.')
    inputs = []
    for place, given in enumerate(node.input):
      if not _is_tensor(given):
        inputs.append(given)
      elif writes and place == _STEPS.get(node.op, 1):
        inputs.append(self._lifted(given))
      elif self._is_stacked(given):
        raise CannotStack(f'{node.name} takes another {graph_names.node_of(given)} for each client.')
      else:
        inputs.append(self._input(given))
    self._copy(node).input[:] = inputs

  def _lifted(self, tensor):
    """Returns a stacked tensor for one that may be the same for all clients."""
    if self._is_stacked(tensor):
      return self._input(tensor)
    return self._inlined([tensor], [], lambda operands: [stacking_rules.broadcast(operands[0], self._count)])[0]

  def _choose(self, node):
    condition, place = self._choices[node.name]
    yes, no = node.input[place], node.input[1 - place]
    if any(self._names_output(other, node.name, 1) for other in self._before.node):
      raise CannotStack(f'the graph asks which way {node.name} came.')
    tensors = [condition, yes, no]
    own = [self._is_stacked(one) for one in tensors]
    select = tf.compat.v1.NodeDef(op='SelectV2', name=node.name)
    select.attr['T'].CopyFrom(node.attr['T'])
    controls = [given for given in node.input if not _is_tensor(given)]
    found = self._inlined(tensors, controls, lambda operands: stacking_rules.stacked(
        select, operands, own, self._count))
    self._names[node.name, 0] = found[0]
    self._anchor(node, found)

  @staticmethod
  def _names_output(node, name, output):
    return any(given == f'{name}:{output}' for given in node.input)

  def _inline(self, node):
    """Adds the operations of a rule in the place of a node."""
    data = list(_data(node))
    own = [self._is_stacked(one) for one in data]
    if node.op in _OF_SHAPES:
      build = lambda operands: _shape_of_one(node, operands, own, self._count)
    else:
      build = lambda operands: stacking_rules.stacked(node, operands, own, self._count)
    found = self._inlined(data, [given for given in node.input if not _is_tensor(given)], build, like=node)
    for output, name in enumerate(found):
      self._names[node.name, output] = name
    self._anchor(node, found)

  def _anchor(self, node, found):
    """Adds a node of the old name, for what must run after it."""
    self._graph.node.add(name=node.name, op='NoOp').input.extend(
        dict.fromkeys(control for name in found for control in self._after(name)))

  def _after(self, tensor):
    """Yields the edge of what runs after a tensor of the new graph; what is given is always there."""
    name = graph_names.node_of(tensor)
    if name not in self._nodes or self._nodes[name].op != 'Placeholder':
      yield f'^{name}'

  def _inlined(self, tensors, controls, build, like=None):
    """Adds what `build` makes of these tensors of the old graph, and returns the names of its results."""
    part = tf.Graph()
    with part.as_default():
      operands = []
      for tensor in tensors:
        constant = None if self._is_stacked(tensor) else self._constant(tensor)
        shape = self._shapes.of(tensor)
        operands.append(constant if constant is not None else tf.compat.v1.placeholder(
            self._shapes.dtype(tensor), tf.TensorShape([self._count]).concatenate(shape)
            if self._is_stacked(tensor) else shape))
      results = build(operands)
    self._made += 1
    prefix = f'{self._prefix}{self._made}/'
    replaced = {one.op.name: self._input(tensor) for one, tensor in zip(operands, tensors, strict=True)
                if one.op.type == 'Placeholder'}
    first = list(self._after(self._input(tensors[0])))
    for made in part.as_graph_def().node:
      if made.name in replaced:
        continue
      added = self._graph.node.add()
      added.CopyFrom(made)
      added.name = prefix + made.name
      inputs = [_renamed(given, prefix, replaced) for given in made.input]
      # In a loop, what has no operand must follow something of the same step.
      added.input[:] = [*inputs, *(controls if inputs else [*first, *controls])]
      for name, value in (like.attr.items() if like is not None else ()):
        if name.startswith('_') and name != '_output_shapes':
          added.attr[name].CopyFrom(value)
    return [replaced.get(one.op.name, f'{prefix}{one.name}') for one in results]

  def _constant(self, tensor):
    node = self._nodes[graph_names.node_of(tensor)]
    while node.op in ('Identity', 'Enter'):
      node = self._nodes[graph_names.node_of(node.input[0])]
    if node.op != 'Const':
      return None
    return tf.constant(tf.make_ndarray(node.attr['value'].tensor))

  def _input(self, tensor):
    """Returns the name in the new graph of a tensor of the old one."""
    node, output = _parts(tensor)
    return self._names.get((node, output), f'{node}:{output}' if output else node)

  def _more(self, shape):
    return tf.TensorShape([self._count]).concatenate(tf.TensorShape(shape)).as_proto()


class _Shapes:
  """What is known of the tensors of a graph before it runs."""

  def __init__(self, graph):
    self._graph = graph

  def _tensor(self, name):
    node, output = _parts(name)
    return self._graph.get_operation_by_name(node).outputs[output]

  def of(self, tensor):
    return self._tensor(tensor).shape

  def rank(self, tensor):
    return self._tensor(tensor).shape.rank

  def dtype(self, tensor):
    return self._tensor(tensor).dtype

  def is_resource_tensor(self, tensor):
    return self._tensor(tensor).dtype == tf.resource

  def is_resource(self, node):
    outputs = self._graph.get_operation_by_name(node.name).outputs
    return bool(outputs) and outputs[0].dtype == tf.resource


def _shapes(graph):
  with tf.Graph().as_default() as imported:
    tf.graph_util.import_graph_def(graph, name='')
  return _Shapes(imported)


def _shape_of_one(node, operands, own, count):
  kind = tf.as_dtype(node.attr['out_type'].type or tf.int32)
  if node.op == 'Size':
    return [tf.size(operands[0], kind) // count]
  if node.op == 'Rank':
    return [tf.rank(operands[0]) - 1]
  return [tf.shape(one, kind)[1:] if is_stacked else tf.shape(one, kind)
          for one, is_stacked in zip(operands, own, strict=True)]


def _is_stateful(node):
  # Not public API: what TensorFlow knows of an operation.
  from tensorflow.python.framework import op_def_registry
  definition = op_def_registry.get(node.op)
  return definition is None or definition.is_stateful


def _is_control(given):
  return given.startswith('^')


def _is_tensor(given):
  return not _is_control(given)


def _data(node) -> Iterable[str]:
  return (given for given in node.input if _is_tensor(given))


def _parts(tensor):
  node, _, output = tensor.partition(':')
  return node, int(output or 0)


def _renamed(given, prefix, replaced):
  if _is_control(given):
    name = given[1:]
    return f'^{graph_names.node_of(replaced[name])}' if name in replaced else f'^{prefix}{name}'
  node, output = _parts(given)
  if node in replaced:
    return replaced[node]
  return f'{prefix}{node}:{output}' if output else f'{prefix}{node}'


def _is_loop(node, nodes):
  """Returns whether a node begins the steps of a loop."""
  return node.op == 'Merge' and any(nodes[graph_names.node_of(given)].op == 'NextIteration' for given in node.input)


def _origin(nodes, tensor):
  """Returns the tensor that is passed on as `tensor`."""
  while nodes[graph_names.node_of(tensor)].op == 'Identity':
    tensor = nodes[graph_names.node_of(tensor)].input[0]
  return tensor


def _ordered(nodes: Mapping[str, graph_pb2.GraphDef]) -> Iterable[str]:
  """Yields the names of the nodes, each after those that it needs, but for the edges that close loops."""
  before = {name: {graph_names.node_of(given) for given in node.input
                   if not (node.op == 'Merge' and nodes[graph_names.node_of(given)].op == 'NextIteration')}
            for name, node in nodes.items()}
  after = collections.defaultdict(list)
  for name, needed in before.items():
    for one in needed:
      after[one].append(name)
  ready = [name for name, needed in before.items() if not needed]
  while ready:
    name = ready.pop()
    yield name
    for one in after[name]:
      before[one].discard(name)
      if not before[one]:
        ready.append(one)


def _guards(nodes, order):
  """Returns the conditions under which nodes run, and those that choose the value of a `Merge`.

  Returns:
    Name of a node -> (condition, branch) of the `Switch` nodes that it follows, and that no `Merge` has ended; name of
    a `Merge` that is no loop's -> (condition, which of its inputs is there if the condition is true); name of any
    other such `Merge` -> the conditions in which its inputs differ.
  """
  guards: dict[str, frozenset[tuple[str, int]]] = {}
  choices, undecided = {}, {}

  def of(given):
    node, output = _parts(given.removeprefix('^'))
    found = guards.get(node, frozenset())
    if nodes[node].op == 'Switch' and not given.startswith('^'):
      condition = _origin(nodes, nodes[node].input[1])
      if nodes[graph_names.node_of(condition)].op != 'LoopCond':
        found |= {(condition, output)}
    return found

  for name in order:
    node = nodes[name]
    if node.op == 'Merge' and not _is_loop(node, nodes):
      first, second = (of(given) for given in list(_data(node))[:2])
      for condition, branch in first:
        if (condition, 1 - branch) in second:
          choices[name] = condition, 0 if branch == 1 else 1
          guards[name] = (first | second) - {(condition, 0), (condition, 1)}
          break
      else:
        guards[name] = first | second
        undecided[name] = [condition for condition, _ in first ^ second]
    else:
      guards[name] = frozenset().union(*(of(given) for given in node.input)) if node.input else frozenset()
  return guards, choices, undecided
