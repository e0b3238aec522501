"""The graph of a client, rewritten for several clients at once.

Small models leave a device waiting: a step is a chain of short operations. Here each operation of the graph runs once
for several clients, their tensors stacked along a new first axis, and one loop over steps serves them all. What is the
same for all clients stays as it is.

Loops stay loops, so all clients must make the same number of steps: they have tensors of the same shapes. A condition
that clients may decide differently becomes a choice between two results, both of which are computed.

Not public API: the messages are TensorFlow's own.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from tff_vision.runtime.device import flow as flow_lib
from tff_vision.runtime.device import graph_tensors, stacking_rules
from tff_vision.runtime.tff_internals import graph_names

# What they return is the same for clients whose tensors have the same shapes.
_OF_SHAPES = frozenset({'Shape', 'ShapeN', 'Size', 'Rank'})
_WRITING = frozenset({'AssignVariableOp', 'AssignAddVariableOp', 'AssignSubVariableOp'})
# Updates of a variable, number by number -> the place of the gradient; other numbers are the same for all clients.
_STEPS = {'ResourceApplyGradientDescent': 2, 'ResourceApplyMomentum': 3, 'ResourceApplyKerasMomentum': 3,
          'ResourceApplyAdagradV2': 4, 'ResourceApplyRMSProp': 7, 'ResourceApplyAdam': 9}
_OF_MANY_WAYS = frozenset({'_SwitchN', 'RefSwitch', 'RefMerge'})
_OF_VARIABLES = frozenset({'VarHandleOp', 'ReadVariableOp', *_WRITING, *_STEPS})


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
    graph: The graph of one client; placeholders have the shapes of one client.
    given: The names of the placeholders that receive the tensors of `count` clients, stacked.
    results: Names of tensors, with a colon, or nodes.

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
    self._flow = flow_lib.Flow(self._nodes)
    self._tensors = graph_tensors.Tensors(graph)
    self._stacked = self._found()
    self._graph = graph_pb2.GraphDef(library=graph.library, versions=graph.versions)
    self._names: dict[tuple[str, int], str] = {}
    self._inlines = 0
    self._prefix = 'stacked'
    while any(name.startswith(self._prefix) for name in self._nodes):
      self._prefix += '_'

  def made(self, results: Sequence[str]) -> Stacked:
    for name in self._flow.order:
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
      for name in self._flow.order:
        node = self._nodes[name]
        if name not in stacked and self._becomes_stacked(node, stacked):
          stacked.add(name)
        if name in stacked and self._flow.is_loop(node):  # All values of a loop variable are alike.
          stacked.update(graph_names.node_of(given) for given in graph_names.data_of(node))
      if len(stacked) == before:
        return stacked

  def _becomes_stacked(self, node, stacked):
    if node.op in _OF_SHAPES or self._tensors.is_handle(node.name):
      return False
    if node.op == 'ReadVariableOp' or node.name in self._given:
      return True
    given = [node.input[0]] if node.op == 'Switch' else list(graph_names.data_of(node))
    if node.name in self._flow.choices:
      given.append(self._flow.choices[node.name][0])
    return any(graph_names.node_of(one) in stacked for one in given)

  def _is_stacked(self, tensor):
    return graph_names.node_of(tensor) in self._stacked

  # The new graph.

  def _add(self, node):
    self._check(node)
    data = list(graph_names.data_of(node))
    if node.op == 'Switch' and self._is_stacked(self._flow.condition_of(node)):
      for output in range(2):
        self._names[node.name, output] = self._input(node.input[0])
      self._anchor(node, [self._input(given) for given in data])
    elif node.name in self._flow.choices and self._is_stacked(self._flow.choices[node.name][0]):
      self._choose(node)
    elif node.op in flow_lib.OPERATIONS:
      self._keep(node)
    elif node.op == 'VarHandleOp':
      shape = self._keep(node).attr['shape'].shape
      shape.CopyFrom(tf.TensorShape([self._count]).concatenate(tf.TensorShape(shape)).as_proto())
    elif any(map(self._tensors.is_handle, data)):
      self._add_on_variable(node)
    elif node.name in self._given or not any(map(self._is_stacked, data)):
      self._keep(node)
    else:
      self._add_by_rule(node)

  def _check(self, node):
    if node.op == 'LoopCond' and any(map(self._is_stacked, graph_names.data_of(node))):
      raise CannotStack(f'{node.name}: clients may make different numbers of steps.')
    if node.op not in _OF_VARIABLES and _is_stateful(node):
      raise CannotStack(f'{node.name} ({node.op}) has a state.')
    if node.op in _OF_MANY_WAYS or node.name in self._flow.undecided:
      raise CannotStack(f'{node.name} waits for one of several ways, and clients may go different ones.')

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
        given if graph_names.is_edge_of_order(given)
        else self._lifted(given) if lifted and (place == 0 or node.op == 'Merge')
        else self._input(given) for place, given in enumerate(node.input)]
    return kept

  def _add_on_variable(self, node):
    """Adds an operation on a variable; each variable is stacked."""
    if node.op not in _OF_VARIABLES and node.op != 'Identity':
      raise CannotStack(f'{node.name} ({node.op}) does more with a variable than to read and write it.')
    writes = node.op in _WRITING or node.op in _STEPS
    if writes and any(self._is_stacked(condition) for condition, _ in self._flow.ways[node.name]):
      raise CannotStack(f'{node.name} writes a variable for some clients only.')
    inputs = []
    for place, given in enumerate(node.input):
      if graph_names.is_edge_of_order(given):
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
    """Adds a choice between both ways of a condition."""
    if any(f'{node.name}:1' in other.input for other in self._before.node):
      raise CannotStack(f'the graph asks which way {node.name} came.')
    condition, place = self._flow.choices[node.name]
    select = node_def_pb2.NodeDef(op='Select', name=node.name, attr={'T': node.attr['T']})
    select.input.extend([condition, node.input[place], node.input[1 - place], *node.input[2:]])
    self._add_by_rule(select, stacking_rules.choice)

  def _add_by_rule(self, node, build=stacking_rules.stacked):
    """Adds the operations of a rule in the place of a node."""
    data = list(graph_names.data_of(node))
    own = [self._is_stacked(one) for one in data]
    found = self._inlined(data, [given for given in node.input if graph_names.is_edge_of_order(given)],
                          lambda operands: build(node, operands, own, self._count),
                          {name: value for name, value in node.attr.items()
                           if name.startswith('_') and name != '_output_shapes'})
    for output, name in enumerate(found):
      self._names[node.name, output] = name
    self._anchor(node, found)

  def _anchor(self, node, found):
    """Adds a node of the old name, for what must run after it."""
    self._graph.node.add(name=node.name, op='NoOp').input.extend(
        dict.fromkeys(edge for name in found for edge in self._after(name)))

  def _after(self, tensor) -> Iterable[str]:
    """Yields the edge of what runs after a tensor of the new graph; what is given is always there."""
    name = graph_names.node_of(tensor)
    if name not in self._nodes or self._nodes[name].op != 'Placeholder':
      yield f'^{name}'

  def _inlined(self, tensors: Sequence[str], edges: Sequence[str],
               build: Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]], marks: Any = ()) -> list[str]:
    """Adds what `build` makes of these tensors of the old graph, and returns the names of its results."""
    with tf.Graph().as_default() as part:
      operands = [self._operand(tensor) for tensor in tensors]
      try:
        results = build(operands)
      except (ValueError, TypeError, NotImplementedError) as error:
        raise CannotStack(f'{tensors[0]}: {error}') from error
    self._inlines += 1
    prefix = f'{self._prefix}{self._inlines}/'
    replaced = {one.op.name: self._input(tensor) for one, tensor in zip(operands, tensors, strict=True)
                if one.op.type == 'Placeholder'}
    for made in part.as_graph_def().node:
      if made.name in replaced:
        continue
      added = self._graph.node.add()
      added.CopyFrom(made)
      added.name = prefix + made.name
      inputs = [_renamed(given, prefix, replaced) for given in made.input]
      # In a loop, what has no operand must follow something of the same step.
      first = () if inputs else self._after(self._input(tensors[0]))
      added.input[:] = [*inputs, *first, *edges]
      for name in marks:
        added.attr[name].CopyFrom(marks[name])
    return [replaced.get(one.op.name, f'{prefix}{one.name}') for one in results]

  def _operand(self, tensor):
    shape, kind = self._tensors.shape(tensor), self._tensors.kind(tensor)
    if self._is_stacked(tensor):
      return tf.compat.v1.placeholder(kind, tf.TensorShape([self._count]).concatenate(shape))
    node = self._nodes[graph_names.node_of(tensor)]
    while node.op in ('Identity', 'Enter'):
      node = self._nodes[graph_names.node_of(node.input[0])]
    if node.op == 'Const':  # Rules look at axes and shapes.
      return tf.constant(tf.make_ndarray(node.attr['value'].tensor))
    return tf.compat.v1.placeholder(kind, shape)

  def _input(self, tensor):
    """Returns the name in the new graph of a tensor of the old one."""
    node, output = graph_names.parts_of(tensor)
    return self._names.get((node, output), f'{node}:{output}' if output else node)


def _is_stateful(node):
  definition = op_def_registry.get(node.op)
  return definition is None or definition.is_stateful


def _renamed(given, prefix, replaced):
  """Returns the name in the new graph of an input of a node that a rule made."""
  name = graph_names.node_of(given)
  if graph_names.is_edge_of_order(given):
    return f'^{graph_names.node_of(replaced[name])}' if name in replaced else f'^{prefix}{name}'
  return replaced[name] if name in replaced else prefix + given
