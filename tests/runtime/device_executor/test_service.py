"""The device executor's calls: the same answers as TFF's executor, byte for byte, and statuses instead of crashes."""

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2
from tensorflow_federated.python.core.impl.computation import computation_impl

from tests.runtime.device_executor import conversation as say
from tff_vision.runtime.device_executor import service
from tff_vision.runtime.driver import probe

Code = grpc.StatusCode


def _selected(index, source=None):
  def talk(to):
    where = to.open()
    held = to.put(where, say.ONE) if source == 'tensor' else to.struct(where, ('a', to.put(where, say.ONE)))
    return to.fetch(where, to.select(where, held, index))
  return talk


def _with(value, clients=2):
  """Sends a value and fetches it."""
  def talk(to):
    where = to.open(clients)
    return to.fetch(where, to.put(where, value))
  return talk


def _called(function, *argument, clients=2):
  return lambda to: to.ran(function, *argument, clients=clients)


def _struct(*names):
  def talk(to):
    where = to.open()
    return to.fetch(where, to.struct(where, *((name, to.put(where, say.ONE)) for name in names)))
  return talk


def _of_a_pair(to):
  where = to.open()
  pair = to.struct(where, ('', to.put(where, say.at_server(3))), ('', to.put(where, say.at_clients(1, 2))))
  return to.fetch(where, to.call(where, to.put(where, say.compiled(say.everything)), pair))


def _selection(to):
  where = to.open()
  kinds = (tff.FederatedType((np.int32, [2]), tff.CLIENTS), tff.FederatedType(np.int32, tff.SERVER),
           tff.FederatedType((np.float32, [4]), tff.SERVER))
  parts = ([np.int32([0, 2]), np.int32([3, 3])], np.int32(4), np.float32([1, 2, 4, 8]))
  argument = to.struct(where, *(('', to.put(where, say.plain(part, kind)))
                                for part, kind in zip(parts, kinds, strict=True)))
  return to.fetch(where, to.call(where, to.put(where, say.compiled(say.selected)), argument))


def _sequence():
  return say.plain(tf.data.Dataset.range(5), tff.SequenceType(np.int64))


# Conversations that both executors answer in the same way.
SAME = {
    'a call': _called(say.compiled(say.increase), say.ONE),
    'every kind of value': _called(say.compiled(say.kinds)),
    'every operator': _of_a_pair,
    'a sum': _called(say.compiled(say.total), say.at_clients(1, 2)),
    'a map': _called(say.compiled(say.increased), say.at_clients(1, 2)),
    'a sequence': _called(say.compiled(say.counted), _sequence()),
    'operators of sequences': lambda to: to.ran(say.compiled(say.doubled_and_added), say.plain(
        [tf.data.Dataset.range(4), tf.data.Dataset.range(2)],
        tff.FederatedType(tff.SequenceType(np.int64), tff.CLIENTS))),
    'a selection by keys': _selection,
    'values of clients': _with(say.at_clients(1, 2)),
    'no clients': _with(say.at_clients(), clients=0),
    'a value of the server': _with(say.at_server(3)),
    'one value for all clients': _with(say.plain(np.float32(1), tff.FederatedType(np.float32, tff.CLIENTS, True))),
    'names of a structure': _struct('a', '', 'b'),
    'an empty structure': _struct(),
    'a function of Python': _called(say.identity(), say.ONE),
    'an assertion that fails': _called(say.compiled(say.total), say.at_clients(1, -2)),
    'an executor that is not there': lambda to: to.put(executor_pb2.ExecutorId(id='clients=9/1/0'), say.ONE),
    'no executor': lambda to: to.put(executor_pb2.ExecutorId(), say.ONE),
    'no number of clients': lambda to: to.open(None),
    'clients on the moon': lambda to: to.open(2, 'moon'),
    'an unknown value': lambda to: to.fetch(to.open(), executor_pb2.ValueRef(id='77777')),
    'a handle that is none': lambda to: to.fetch(to.open(), executor_pb2.ValueRef(id='what')),
    'an empty handle': lambda to: to.fetch(to.open(), executor_pb2.ValueRef()),
    'an empty value': _with(executor_pb2.Value()),
    'an element': _selected(0),
    'an element that is not there': _selected(3),
    'an element before the first': _selected(-1),
    'an element of a tensor': _selected(0, 'tensor'),
    'a call of a tensor': _called(say.ONE, say.ONE),
    'a call without its argument': _called(say.compiled(say.increase)),
    'a call with an argument too much': _called(say.compiled(say.kinds), say.ONE),
    'a structure of the wrong length': lambda to: _few(to),
    'too few clients': _with(say.at_clients(1)),
    'a sum over what is nobody\'s': _called(say.compiled(say.total), say.ONE),
    'a name that is bound nowhere': _with(say.reference('nobody')),
    'an unknown value is disposed of': lambda to: to.dispose(to.open(), executor_pb2.ValueRef(id='77777')),
    'an unknown executor is closed': lambda to: to.close(executor_pb2.ExecutorId(id='what')),
}


def _few(to):
  where = to.open()
  return to.fetch(where, to.call(where, to.put(where, say.compiled(say.add)),
                                 to.struct(where, ('', to.put(where, say.ONE)))))


@pytest.mark.parametrize('name', SAME)
def test_the_answer_is_that_of_worker_binary(own, device, name):
  assert say.heard(device, SAME[name]) == say.heard(own, SAME[name])


def _array(**parts):
  def change(value):
    for name, part in parts.items():
      if name == 'dim':
        value.array.shape.dim[:] = part
      elif name == 'unknown_rank':
        value.array.shape.unknown_rank = part
      else:
        setattr(value.array, name, part)
  return say.changed(say.VECTOR, change)


def _graph(value):
  value.computation.tensorflow.graph_def.value = b'\xff\xfe no graph'


def _nowhere(value):
  value.computation.tensorflow.parameter.tensor.tensor_name = 'nowhere:0'


# What `worker_binary` passes on unread, or what crashes or misleads later, is refused here when it comes.
REFUSED = {
    'negative number of clients': (lambda to: to.open(-2), Code.INVALID_ARGUMENT),
    'content that is too short': (_with(_array(content=b'abc')), Code.INVALID_ARGUMENT),
    'a shape that is too large': (_with(_array(dim=[10**14])), Code.INVALID_ARGUMENT),
    'a negative shape': (_with(_array(dim=[-1])), Code.INVALID_ARGUMENT),
    'an unknown shape': (_with(_array(unknown_rank=True)), Code.INVALID_ARGUMENT),
    'an unknown type': (_with(_array(dtype=0)), Code.INVALID_ARGUMENT),
    'a list of another type': (_with(say.changed(say.ONE, lambda value: value.array.int32_list.value.append(3))),
                               Code.INVALID_ARGUMENT),
    'clients on the moon': (_with(say.changed(
        say.at_clients(1, 2), lambda value: setattr(value.federated.type.placement.value, 'uri', 'moon'))),
                            Code.INVALID_ARGUMENT),
    'a graph that is none': (_called(say.changed(say.compiled(say.increase), _graph), say.ONE), Code.INVALID_ARGUMENT),
    'a parameter that is not in its graph': (_called(say.changed(say.compiled(say.increase), _nowhere), say.ONE),
                                             Code.INVALID_ARGUMENT),
    'a structure for a tensor': (lambda to: _pair_for_one(to), Code.INVALID_ARGUMENT),
    'a number of another type': (_called(say.compiled(say.increase), say.plain(np.int32(1), np.int32)),
                                 Code.INVALID_ARGUMENT),
    'an unknown operator': (_called(say.intrinsic('federated_dance'), say.ONE), Code.UNIMPLEMENTED),
    'a private name as an operator': (_called(say.intrinsic('computed'), say.ONE), Code.UNIMPLEMENTED),
    'an empty computation': (_with(say.computation(lambda message: None)), Code.INVALID_ARGUMENT),
    'XLA': (_with(say.computation(lambda message: message.xla.SetInParent())), Code.UNIMPLEMENTED),
    'data': (_with(say.computation(lambda message: setattr(message.data, 'uri', 'a'))), Code.UNIMPLEMENTED),
    'a computation that is fetched': (_with(say.compiled(say.increase)), Code.INVALID_ARGUMENT),
    'a sequence that is none': (_with(say.changed(
        executor_pb2.Value(), lambda value: setattr(value.sequence, 'serialized_graph_def', b'\xffno'))),
                                Code.INTERNAL),
    'selections from nothing': (_called(say.deep(40), say.ONE), Code.INVALID_ARGUMENT),
    'bytes that are no message': (lambda to: to.channel.unary_unary(
        '/tensorflow_federated.v0.ExecutorGroup/CreateValue')(b'\xff\xff'), Code.INTERNAL),
}


def _pair_for_one(to):
  where = to.open()
  one = to.put(where, say.ONE)
  return to.fetch(where, to.call(where, to.put(where, say.compiled(say.increase)),
                                 to.struct(where, ('', one), ('', one))))


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_malformed_gets_a_status_and_the_executor_goes_on(device, name):
  talk, code = REFUSED[name]
  assert say.heard(device, talk) is code
  assert say.heard(device, SAME['a call']) == say.plain(np.float32(2), np.float32).SerializeToString()


def test_literals_and_blocks_are_values(device):
  five = say.plain(np.int32(5), np.int32).SerializeToString()
  assert say.heard(device, _with(say.literal())) == say.heard(device, _with(say.block())) == five


def test_the_sentence_of_an_assertion_is_passed_on_as_the_driver_looks_for_it(own, device):
  for to in (own, device):
    with pytest.raises(grpc.RpcError) as failed:
      to.ran(say.compiled(say.total), say.at_clients(1, -2))
    assert 'refused: it is not positive.]' in failed.value.details()
    assert failed.value.details().startswith('Failed to run computation: ')
    assert 'most recent call' not in failed.value.details()


def test_a_sequence_comes_back_as_one(device):
  from tensorflow_federated.python.core.impl.executors import value_serialization
  for answer in (_with(_sequence())(device), device.ran(say.compiled(say.numbers))):
    found, _ = value_serialization.deserialize_value(answer, tff.SequenceType(np.int64))
    assert list(found.as_numpy_iterator())[:3] == [0, 1, 2]


def test_a_number_of_tff_does_not_stand_for_a_graph(device):
  """Who sends two graphs under one number would otherwise call one in place of the other, past a guard."""
  @tff.tensorflow.computation(np.float32)
  def other(x):
    return x * 100

  sent = []
  for made in (say.compiled(say.increase), say.compiled(other)):
    sent.append(say.changed(made, lambda value: setattr(value.computation.tensorflow.cache_key, 'id', 12345)))
  found = [device.ran(one, say.plain(np.float32(3), np.float32)).array.float32_list.value[0] for one in sent]
  assert found == [4, 300]


def _entries(thing):
  """Returns how much the objects of this package keep in dictionaries."""
  if isinstance(thing, dict):
    return len(thing) + sum(map(_entries, thing.values()))
  return _entries(vars(thing)) if type(thing).__module__.startswith('tff_vision') else 0


def test_nothing_is_kept_of_a_caller_that_has_left():
  group = service.ExecutorGroup(None)
  before = _entries(group)
  where = group.GetExecutor(executor_pb2.GetExecutorRequest(cardinalities=[executor_pb2.Cardinality(
      placement=computation_pb2.Placement(uri='clients'), cardinality=2)]), None).executor
  for number in range(20):
    value = executor_pb2.Value(computation=computation_impl.ConcreteComputation.get_proto(say.increase))
    value.computation.tensorflow.session_token_tensor_name = f'another_{number}'
    group.CreateValue(executor_pb2.CreateValueRequest(executor=where, value=value), None)
  assert _entries(group) > before + 20
  group.DisposeExecutor(executor_pb2.DisposeExecutorRequest(executor=where), None)
  assert _entries(group) == before


def test_values_end_with_their_handle_or_their_executor_and_nobody_sees_those_of_others(device):
  first, second = device.open(), device.open()
  held = device.put(first, say.ONE)
  assert first.id != second.id
  with pytest.raises(grpc.RpcError, match='value not found'):
    device.fetch(second, held)
  device.dispose(first, held)
  with pytest.raises(grpc.RpcError, match='value not found'):
    device.fetch(first, held)
  device.close(first)
  with pytest.raises(grpc.RpcError, match='No executor found') as failed:
    device.put(first, say.ONE)
  assert failed.value.code() is Code.FAILED_PRECONDITION, 'the driver connects anew'
  device.put(second, say.ONE)


def test_callers_at_the_same_time_get_their_own_results(device):
  def talk(number):
    where = device.open(3)
    made = device.call(where, device.put(where, say.compiled(say.total)),
                       device.put(where, say.at_clients(number, 1, 1)))
    return device.fetch(where, made).federated.value[0].array.float32_list.value[0]

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(talk, range(1, 25))) == [number + 2 for number in range(1, 25)]


def test_the_probe_of_a_driver_is_answered(device):
  assert probe.answers(device.channel, 5.0)
