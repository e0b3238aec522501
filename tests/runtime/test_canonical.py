"""Digests of computations: equal in every process, and different for every other graph."""

import copy
import functools
import os
import pathlib
import subprocess
import sys

import grpc
import pytest
from tensorflow.core.framework import graph_pb2, types_pb2

from tests.runtime import graphs
from tests.runtime.guard import protocol
from tff_vision.runtime.tff_internals import canonical

ROOT = pathlib.Path(__file__).parents[2]
# Other graphs first, so that every counter of the process stands elsewhere.
_ELSEWHERE = '''
import tensorflow as tf
for number in range(5):
  tf.function(lambda x: tf.data.Dataset.range(3).reduce(x, lambda a, b: a + b)).get_concrete_function(
      tf.TensorSpec([], tf.int64))
from tests.runtime.guard import protocol
from tff_vision.runtime.tff_internals import canonical
for name, made in protocol.computations().items():
  print(name, canonical.computation(made.computation))
'''


@pytest.fixture(scope='module')
def made():
  return protocol.computations()


def test_another_process_has_the_same_digests_and_other_bytes(made):
  done = subprocess.run([sys.executable, '-c', _ELSEWHERE], cwd=ROOT, capture_output=True, text=True, check=True,
                        env=os.environ | {'PYTHONHASHSEED': '4711', 'TF_CPP_MIN_LOG_LEVEL': '3'})
  assert dict(line.split() for line in done.stdout.splitlines()) == {
      name: canonical.computation(one.computation) for name, one in made.items()}


def _graphs(message):
  """Yields the TensorFlow parts of a computation."""
  kind = message.WhichOneof('computation')
  part = getattr(message, kind)
  if kind == 'tensorflow':
    yield part
  inner = {'lambda': ['result'], 'call': ['function', 'argument'], 'selection': ['source'], 'block': ['result']}
  for name in inner.get(kind, ()):
    if part.HasField(name):
      yield from _graphs(getattr(part, name))
  for element in (*getattr(part, 'element', ()), *getattr(part, 'local', ())):
    yield from _graphs(element.value)


def _edited(message, edit):
  """Returns the message with its first graph edited; `edit` gets the graph and its part."""
  changed = copy.deepcopy(message)
  part = next(_graphs(changed))
  graph = graph_pb2.GraphDef()
  part.graph_def.Unpack(graph)
  edit(graph, part)
  part.graph_def.Pack(graph)
  return changed


def _node_edits():
  def other_op(node):
    node.op = {'Mul': 'AddV2'}.get(node.op, 'Mul')

  def other_device(node):
    node.device = '/device:GPU:0'

  def other_attribute(node):
    node.attr['T'].type = types_pb2.DT_HALF

  def stateful(node):
    node.attr['_more'].b = True

  return {'op': other_op, 'device': other_device, 'type': other_attribute, 'attribute': stateful}


def _swap(node):
  if len(node.input) < 2 or node.input[0] == node.input[1] or node.input[1].startswith('^'):
    return False
  node.input[0], node.input[1] = node.input[1], node.input[0]
  return True


def _constant(node):
  if node.op != 'Const':
    return False
  tensor = node.attr['value'].tensor
  if tensor.tensor_content:
    tensor.tensor_content = bytes([tensor.tensor_content[0] ^ 1]) + tensor.tensor_content[1:]
  elif tensor.string_val:
    tensor.string_val[0] += b'x'
  else:
    tensor.tensor_shape.dim.add(size=1)
  return True


def _no_control(node):
  if not any(name.startswith('^') for name in node.input):
    return False
  kept = [name for name in node.input if not name.startswith('^')]
  del node.input[:]
  node.input.extend(kept)
  return True


def _attacks(message):
  """Yields changed computations."""
  graph = graph_pb2.GraphDef()
  next(_graphs(message)).graph_def.Unpack(graph)
  for place in range(len(graphs.nodes(graph))):
    for edit in _node_edits().values():
      yield _edited(message, lambda found, part, place=place, edit=edit: edit(graphs.nodes(found)[place]))
    for edit in (_swap, _constant, _no_control):
      applied = []
      changed = _edited(message, lambda found, part, place=place, edit=edit, applied=applied:
                        applied.append(edit(graphs.nodes(found)[place])))
      if applied[0]:
        yield changed
  yield _edited(message, lambda found, part: found.node.add(name='more', op='NoOp'))
  yield _edited(message, lambda found, part: found.library.function.add().signature.MergeFrom(
      graph_pb2.GraphDef().library.function.add().signature.__class__(name='f')))
  yield _edited(message, lambda found, part: setattr(found.versions, 'producer', 1))
  yield _edited(message, lambda found, part: setattr(part, 'initialize_op', found.node[0].name))
  for side in ('parameter', 'result'):
    yield _edited(message, functools.partial(_exchanged, side=side))
  changed = copy.deepcopy(message)
  changed.type.function.result.CopyFrom(changed.type.function.parameter)
  yield changed


def _exchanged(graph, part, side):
  """Exchanges two tensors of a binding, or names another where there is only one."""
  binding = getattr(part, side)
  elements = binding.struct.element
  if len(elements) > 1:
    first = copy.deepcopy(elements[0])
    elements[0].CopyFrom(elements[1])
    elements[1].CopyFrom(first)
  else:
    binding.tensor.tensor_name = next(node.name for node in graph.node
                                      if not binding.tensor.tensor_name.startswith(node.name)) + ':0'


def test_every_changed_graph_is_refused(made, tmp_path):
  """More than a hundred; two ways to share one node have different digests too, see below."""
  with protocol.executor() as (executor, address):
    ruled = protocol.recorded(address, made)
    watch, log = protocol.enforced(ruled, tmp_path / 'audit.jsonl')
    with protocol.guarded(address, watch, made, log) as coordinator:
      passed, tried = executor.asked.count('CreateValue'), 0
      for one in made.values():
        for changed in _attacks(one.computation):
          if changed == one.computation:
            continue
          tried += 1
          value = copy.deepcopy(one)
          value.computation.CopyFrom(changed)
          with pytest.raises(grpc.RpcError) as caught:
            coordinator.value(value)
          assert 'refused: site north: the computation ' in caught.value.details()
      assert tried > 100 and executor.asked.count('CreateValue') == passed


def test_names_orders_and_cache_ids_do_not_matter(made):
  for one in made.values():
    def rename(graph, part):
      names = {node.name: f'n{place}' for place, node in enumerate(graph.node)}

      def renamed(tensor):
        name = tensor.removeprefix('^').partition(':')[0]
        return tensor.replace(name, names[name], 1)

      for node in graph.node:
        node.name = names[node.name]
        inputs = [renamed(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
      for side in ('parameter', 'result'):
        for leaf in (*getattr(part, side).struct.element, getattr(part, side)):
          if leaf.WhichOneof('binding') == 'tensor':
            leaf.tensor.tensor_name = renamed(leaf.tensor.tensor_name)
      for place, function in enumerate(graph.library.function):
        old, function.signature.name = function.signature.name, f'f{place}'
        for node in graph.node:
          for attribute in node.attr.values():
            if attribute.func.name == old:
              attribute.func.name = f'f{place}'
      part.session_token_tensor_name = renamed(part.session_token_tensor_name)
      part.cache_key.id = 99

    assert canonical.computation(_edited(one.computation, rename)) == canonical.computation(one.computation)


def test_one_random_node_in_place_of_two_is_another_graph():
  """A key drawn once and used twice, with the second draw left over, has the same nodes and other edges."""
  def graph(second):
    message = graph_pb2.GraphDef()
    for name in ('a', 'b'):
      message.node.add(name=name, op='RandomUniform')
    message.node.add(name='sum', op='Add', input=['a', second])
    return canonical._Graph(message, numbers=True).digest(['sum'])

  assert graph('a') != graph('b')


def test_what_is_no_computation_is_refused(made):
  broken = copy.deepcopy(made['keys'].computation)
  part = next(_graphs(broken))
  part.graph_def.type_url = 'x'
  with pytest.raises(ValueError, match='no TensorFlow graph'):
    canonical.computation(broken)
  with pytest.raises(ValueError, match='empty'):
    canonical.computation(type(broken)())
  with pytest.raises(ValueError, match='two nodes'):
    canonical.computation(_edited(made['keys'].computation,
                                  lambda graph, part: graph.node.add(name=graph.node[0].name, op='NoOp')))
