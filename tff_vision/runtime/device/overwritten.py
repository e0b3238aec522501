"""Finds the variables of a graph whose initial values nobody reads.

TFF initializes all variables of a computation before each call. The variables of a client's model then receive the
server's weights before anything reads them, so their initial values only cost time: one pass over the model for every
client.

Not public API: the messages are TensorFlow's own.
"""

from collections.abc import Collection, Iterable, Iterator

from tensorflow.core.framework import graph_pb2

from tff_vision.runtime.tff_internals import graph_names

# Nodes that return the resource that they are given.
_PASSING = frozenset({'Identity', 'Enter', 'Switch', 'RefSwitch', 'Merge', 'NextIteration', 'Exit', 'LoopCond'})
# What follows one of these may run not at all, or several times.
_CONDITIONAL = frozenset({'Switch', 'Merge', 'Enter', 'NextIteration', 'Exit'})


def variables(graph: graph_pb2.GraphDef, results: Collection[str]) -> frozenset[str]:
  """Returns the names of the `VarHandleOp` nodes that `results` write before they read them, in every execution.

  A variable counts only if this can be seen in the graph itself: a variable that is written in a function is not
  returned.

  Args:
    graph: The graph; every node that `results` need is in it.
    results: The names of nodes.
  """
  nodes = {node.name: node for node in graph.node}
  needed = _above(nodes, results)
  users, controlled = _users(nodes, needed), _users(nodes, needed, controlled=True)
  followers = lambda name: controlled.get(name, ())
  perhaps = _reached(followers, [name for name in needed if nodes[name].op in _CONDITIONAL])
  return frozenset(name for name in needed if nodes[name].op == 'VarHandleOp' and any(
      nodes[writer].op == 'AssignVariableOp' and writer not in perhaps and touching <= _reached(followers, [writer])
      for touching in [set(_touching(nodes, users, name))] for writer in touching))


def above(graph: graph_pb2.GraphDef, tensors: Iterable[str]) -> graph_pb2.GraphDef:
  """Returns the part of a graph that these tensors or nodes need."""
  needed = _above({node.name: node for node in graph.node}, map(graph_names.node_of, tensors))
  found = graph_pb2.GraphDef(library=graph.library, versions=graph.versions)
  found.node.extend(node for node in graph.node if node.name in needed)
  return found


def _above(nodes, starts):
  """Returns the names of `starts` and of all nodes that they depend on."""
  return _reached(lambda name: map(graph_names.node_of, nodes[name].input), starts)


def _users(nodes, needed, *, controlled=False):
  """Returns the nodes that take a node's output; `controlled`: or that run after it."""
  users = {}
  for name in needed:
    for given in nodes[name].input:
      if controlled or not graph_names.is_edge_of_order(given):
        users.setdefault(graph_names.node_of(given), []).append(name)
  return users


def _reached(nexts, starts):
  """Returns `starts`, and all that is reached from them by `nexts`, which takes one name."""
  found, waiting = set(), list(starts)
  while waiting:
    name = waiting.pop()
    if name not in found:
      found.add(name)
      waiting.extend(nexts(name))
  return found


def _touching(nodes, users, variable) -> Iterator[str]:
  """Yields the nodes that read or write the variable, or hand it to a function."""
  seen, waiting = set(), [variable]
  while waiting:
    for user in users.get(waiting.pop(), ()):
      if user in seen:
        continue
      seen.add(user)
      if nodes[user].op in _PASSING:
        waiting.append(user)
      else:
        yield user
