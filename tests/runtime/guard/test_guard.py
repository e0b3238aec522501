"""A coordinator that does not keep to what was approved: whatever it tries is refused, each time with a reason."""

import dataclasses
import re
import resource
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2

from tests.runtime.guard import protocol
from tff_vision.runtime.driver import stub
from tff_vision.runtime.tff_internals import cache_numbers
from tff_vision.runtime.worker.guard import audit, service

NORTH, SOUTH = protocol.NAMES


@pytest.fixture(scope='module')
def made():
  return protocol.computations()


@pytest.fixture(scope='module')
def executor():
  with protocol.executor() as found:
    yield found


@pytest.fixture(scope='module')
def ruled(executor, made):
  return protocol.recorded(executor[1], made)


@pytest.fixture
def coordinator(executor, ruled, made, tmp_path):
  watch, log = protocol.enforced(ruled, tmp_path / 'audit.jsonl')
  with protocol.guarded(executor[1], watch, made, log) as found:
    yield found


def refused(attempt, says):
  """Checks that `attempt` is refused with a sentence that the coordinator's stub reports."""
  with pytest.raises(grpc.RpcError) as caught:
    attempt()
  assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED, caught.value.details()
  sentence = stub._REFUSAL.search(caught.value.details())
  assert sentence is not None and sentence.group(1) == caught.value.details().removeprefix('refused: ')
  assert re.search(says, sentence.group(1)), sentence.group(1)


def test_the_approved_rounds_pass_and_are_counted(coordinator, executor, ruled, tmp_path):
  for _ in range(protocol.ROUNDS):
    coordinator.whole_round()
  refused(coordinator.keys, 'a round: 2 have begun, and 2 are approved')
  watch, log = protocol.enforced(ruled, tmp_path / 'audit.jsonl')  # As after a restart.
  assert watch.begun == {'a round': 2} and watch.epsilon == 0.75 and log.bytes_out > 0
  other, _ = protocol.enforced(dataclasses.replace(ruled, digest='another'), tmp_path / 'audit.jsonl')
  assert other.begun == {'a round': 0} and other.epsilon == 0.0


def _keys_and_public(c):
  held = c.keys()
  c.fetch(c.select(held, 1))
  return held


def _trained(c):
  held = _keys_and_public(c)
  c.fetch(c.train(), c.round)
  return held


# What a coordinator tries, after it behaved well for a while; each with what the guard says.
FETCHES = {
    'the secret': lambda c, held: c.select(held, 0),
    'secret and public together': lambda c, held: held,
    'the secret in a structure': lambda c, held: c.struct(c.select(held, 0)),
    'an element of a structure': lambda c, held: c.select(c.struct(c.select(held, 1), c.select(held, 0)), 1),
    'a structure in a structure': lambda c, held: c.struct(c.select(held, 1), c.struct(c.select(held, 0))),
    'public in a structure': lambda c, held: c.struct(c.select(held, 1)),
    'public and public': lambda c, held: c.struct(c.select(held, 1), c.select(held, 1)),
    'an element that there is not': lambda c, held: c.select(held, 2),
    'a plain value': lambda c, held: c.value(protocol.VECTOR),
    'a computation': lambda c, held: c.value(c.made['share']),
    'a part of the secret': lambda c, held: c.select(c.select(held, 0), 0),
}


@pytest.mark.parametrize('what', FETCHES)
def test_nothing_else_is_fetched(coordinator, what):
  held = coordinator.keys()
  refused(lambda: coordinator.fetch(FETCHES[what](coordinator, held)), 'a value was asked for|no element')


ORDERS = {
    'shares before training': lambda c: c.share(_keys_and_public(c)),
    'training before the public key is fetched': lambda c: (c.keys(), c.train()),
    'training without keys': lambda c: c.train(),
    'the public key twice': lambda c: [c.fetch(c.select(held, 1)) for held in [c.keys()] for _ in range(2)],
    'training twice': lambda c: (_trained(c), c.train()),
    'a sum twice': lambda c: (_keys_and_public(c), [c.fetch(one, c.round) for one in [c.train()] for _ in range(2)]),
    'a third share': lambda c: c.share(c.whole_round()),
    'a share that is not fetched, then another': lambda c: [c.share(held) for held in [_trained(c)] for _ in range(2)],
    'a share twice': lambda c: [c.fetch(one) for one in [c.share(_trained(c))] for _ in range(2)],
    'the public key after training': lambda c: c.fetch(c.select(_trained(c), 1)),
    'a share of an earlier secret': lambda c: [(_trained(c), c.share(old)) for old in [c.whole_round()]],
    'a public key of an earlier round': lambda c: [(c.keys(), c.fetch(c.select(old, 1))) for old in [c.whole_round()]],
    'training with the public key as state': lambda c: c.call('train', c.struct(c.select(_keys_and_public(c), 1))),
    'a share of the secret with itself': lambda c: [
        c.call('share', c.struct(c.select(held, 0), c.select(held, 0))) for held in [_trained(c)]],
    'a share with public in place of secret': lambda c: [
        c.call('share', c.struct(c.value(protocol.VECTOR), c.select(held, 1))) for held in [_trained(c)]],
    'a share with the parts exchanged': lambda c: [
        c.call('share', c.struct(c.select(held, 0), c.value(protocol.VECTOR))) for held in [_trained(c)]],
    'a share of plain values': lambda c: (
        _trained(c), c.call('share', c.struct(c.value(protocol.VECTOR), c.value(protocol.VECTOR)))),
    'keys of a key': lambda c: c.call('keys', c.select(c.keys(), 0)),
    'keys without a seed': lambda c: c.call('keys', None),
    'a call of a value': lambda c: c.call(c.value(protocol.VECTOR), c.value(protocol.SEED)),
    'a computation as argument': lambda c: c.call('keys', c.value(c.made['share'])),
    'a structure with a computation': lambda c: c.struct(c.value(c.made['share'])),
    'an element of a computation': lambda c: c.select(c.value(c.made['share']), 0),
    'a round after the last': lambda c: [c.whole_round() for _ in range(protocol.ROUNDS + 1)],
    'keys again and again': lambda c: [c.keys() for _ in range(protocol.ROUNDS + 1)],
    'training of one client in an executor for two': lambda c: (_keys_and_public(c), c.train((NORTH,))),
    'a handle that is not there': lambda c: c.fetch(executor_pb2.ValueRef(id='7777')),
    'a handle of another executor': lambda c: c.fetch(c.keys(), c.round),
    'a handle that was given back': lambda c: [(c.dispose(held), c.select(held, 1)) for held in [c.keys()]],
}


@pytest.mark.parametrize('what', ORDERS)
def test_no_other_order(coordinator, what):
  refused(lambda: ORDERS[what](coordinator),
          'out of order|earlier round|in no order|needs others|have begun|not hold|no computation|of computations|of a '
          'computation|clients in an executor|with one as its argument|another round')


def _sequence(dataset):
  return protocol.plain(dataset, tff.SequenceType(tff.types.tensorflow_to_type(dataset.element_spec)))


def _values():
  two = tff.types.to_type([np.float32, np.float32])
  hidden = protocol.plain([np.float32(1), np.float32(2)], two)
  hidden.struct.element[1].value.CopyFrom(protocol.computations()['keys'])
  saved = executor_pb2.Value()
  saved.sequence.zipped_saved_model = b'x'
  text_as_bytes = protocol.names(NORTH)
  text_as_bytes.federated.value[0].array.content = b'/etc/passwd'
  longer, bytes_only = protocol.names(NORTH), protocol.names(NORTH)
  longer.federated.value[0].array.string_list.value[0] += b'\0'
  bytes_only.federated.value[0].array.string_list.value[0] = b'\xff\xfe'
  placed = executor_pb2.Value()
  placed.CopyFrom(protocol.STATE)
  placed.federated.type.placement.value.uri = 'clients'
  everyone = executor_pb2.Value()
  everyone.CopyFrom(protocol.names(NORTH))
  everyone.federated.type.all_equal = True
  return {
      'a file of another client': protocol.names('/data/client_000002.tfrecord'),
      'a pattern of files': protocol.names('/data/*'), 'no name': protocol.names(''),
      'a relative name': protocol.names('/data/x/../client_000000.tfrecord'),
      'a name with more behind it': longer, 'a system file': protocol.names('/etc/passwd'),
      'one of ours and another': protocol.names(NORTH, '/data/client_000009.tfrecord'),
      'a client twice': protocol.names(NORTH, NORTH),
      'a name for all': everyone, 'a name at the server': protocol.plain(NORTH, tff.FederatedType(np.str_, tff.SERVER)),
      'a name alone': protocol.plain(NORTH, np.str_),
      'names that are not texts': text_as_bytes, 'bytes for a name': bytes_only,
      'another shape': protocol.plain(np.ones(5, np.float32), tff.TensorType(np.float32, [5])),
      'another rank': protocol.plain(np.ones([1, 4], np.float32), tff.TensorType(np.float32, [1, 4])),
      'another type': protocol.plain(np.ones(4, np.float64), tff.TensorType(np.float64, [4])),
      'another placement': placed, 'an int for a long': protocol.plain(np.int32(5), np.int32),
      'no clients': protocol.names(), 'a structure': protocol.plain([np.float32(1), np.float32(2)], two),
      'a program in a structure': hidden, 'nothing': executor_pb2.Value(), 'a saved model': saved,
      'a data set': _sequence(tf.data.Dataset.range(3)),
      'a data set that reads files': _sequence(tf.data.TFRecordDataset('/data/client_000002.tfrecord')),
  }


def test_no_other_values(coordinator):
  for value in _values().values():
    refused(lambda value=value: coordinator.value(value, coordinator.round),
            'none of the data|more than once|another type|something else|not read')


def test_a_data_set_may_hold_other_numbers_and_nothing_else(executor, made, ruled, tmp_path):
  from tff_vision.runtime.tff_internals import terms
  key = terms.of_value(_sequence(tf.data.Dataset.from_tensor_slices(np.ones([3, 2], np.int32))))[0].key
  watch, _ = protocol.enforced(dataclasses.replace(ruled, values=ruled.values | {key}), tmp_path / 'audit.jsonl')
  with protocol.guarded(executor[1], watch, made) as c:
    c.value(_sequence(tf.data.Dataset.from_tensor_slices(np.arange(8, dtype=np.int32).reshape(4, 2))))
    other = tf.data.Dataset.from_tensor_slices(np.ones([3, 2], np.int32))
    for dataset in (other.map(lambda x: x + 1), other.repeat(2), other.batch(2), other.take(1),
                    tf.data.Dataset.from_tensor_slices(np.ones([3, 2], np.float32)),
                    tf.data.Dataset.from_tensors(np.ones([3, 2], np.int32))):
      refused(lambda dataset=dataset: c.value(_sequence(dataset)), 'another type')


def test_no_other_executors(coordinator):
  refused(lambda: coordinator.open(3), '3 clients was asked for, and 2 are approved')
  refused(lambda: coordinator.open(-1), 'an executor has clients')
  refused(lambda: coordinator.open(1, 'server'), 'and no server')
  two = executor_pb2.GetExecutorRequest()
  for number in (2, 3):
    two.cardinalities.add(cardinality=number).placement.uri = 'clients'
  refused(lambda: coordinator.stub.GetExecutor(two), 'with 2 numbers of participants')
  with pytest.raises(grpc.RpcError) as caught:  # As an executor that was started anew says it.
    coordinator.value(protocol.SEED, executor_pb2.ExecutorId(id='clients=1/1/0'))
  assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_bytes_that_two_readers_might_read_differently_are_refused(coordinator, executor):
  request = executor_pb2.CreateValueRequest(executor=coordinator.silo, value=protocol.SEED).SerializeToString()
  other = executor_pb2.CreateValueRequest(value=protocol.names('/etc/passwd')).SerializeToString()
  send = coordinator.channel.unary_unary('/tensorflow_federated.v0.ExecutorGroup/CreateValue')
  before = list(executor[0].asked)
  for raw in (other + request, request[:-3], b'\xff' * 9, request + b'\x08'):
    refused(lambda raw=raw: send(raw), 'cannot be read|another way|none of the data|another type')
  assert executor[0].asked == before


def test_dates_bytes_and_a_log_that_cannot_be_written(executor, made, ruled, tmp_path):
  for changed, says in (({'expires': 1.0}, 'expired at 1970-01-01'),
                        ({'most_bytes': 3}, 'bytes .*, and 3 are approved')):
    watch, _ = protocol.enforced(dataclasses.replace(ruled, **changed), tmp_path / f'{says[:5]}.jsonl')
    with pytest.raises(grpc.RpcError) as caught, protocol.guarded(executor[1], watch, made) as coordinator:
      coordinator.whole_round()
    assert re.search(says, caught.value.details()), caught.value.details()
  watch, log = protocol.enforced(ruled, tmp_path / 'audit.jsonl')
  with protocol.guarded(executor[1], watch, made, log) as coordinator:
    log._file.close()
    log._file = open('/dev/full', 'ab', buffering=0)
    refused(coordinator.keys, 'its audit log cannot be written .No space left on device.')


def test_a_log_cut_off_by_a_crash_goes_on(ruled, tmp_path):
  path = tmp_path / 'audit.jsonl'
  _, log = protocol.enforced(ruled, path)
  log.begin('a round')
  with open(path, 'ab') as file:
    file.write(b'{"time": "2026-')
  watch, _ = protocol.enforced(ruled, path)
  assert watch.begun == {'a round': 1}
  for changed in (path.read_bytes().replace(b'begins', b'beginz'), b'\n'.join(path.read_bytes().split(b'\n')[1:])):
    with pytest.raises(ValueError, match='the log was changed'):
      audit.verified(changed, path)


def _renumbered(value, number):
  """Returns a copy of a computation whose TensorFlow graphs all have this number, up to one each."""
  made = executor_pb2.Value()
  made.CopyFrom(value)
  waiting, found = [made.computation], 0
  while waiting:
    message = waiting.pop()
    kind = message.WhichOneof('computation')
    part = getattr(message, kind) if kind else None
    if kind == 'tensorflow':
      part.cache_key.id, found = number + found, found + 1
    elif kind == 'lambda':
      waiting.append(part.result)
    elif kind == 'call':
      waiting += [part.function, part.argument]
    elif kind == 'struct':
      waiting += [element.value for element in part.element]
    elif kind == 'selection':
      waiting.append(part.source)
    elif kind == 'block':
      waiting += [*(local.value for local in part.local), part.result]
  assert found
  return made


@pytest.mark.parametrize('second', ['share', 'train'])
def test_a_computation_under_the_number_of_another_is_refused(coordinator, made, second):
  """TFF's executor runs, for a number that it knows, the graph that it got first: a key, where a share was approved."""
  first = _renumbered(made['keys'], 7)
  coordinator.value(first)
  refused(lambda: coordinator.value(_renumbered(made[second], 7)), 'two different computations have the same number')
  coordinator.value(first)
  coordinator.value(_renumbered(made[second], 70))


def test_a_computation_is_read_once_however_often_it_comes(coordinator, made, monkeypatch):
  read, numbered, first = [], cache_numbers.numbered, _renumbered(made['train'], 7)
  monkeypatch.setattr(service, 'cache_numbers', types.SimpleNamespace(
      numbered=lambda one: read.append(one) or numbered(one)))
  for _ in range(3):
    coordinator.value(first)
  assert len(read) == 1
  refused(lambda: coordinator.value(_renumbered(made['share'], 7)), 'two different computations have the same number')


def test_a_log_has_one_writer_and_the_highest_number_of_an_activity_holds_under_any_approval(tmp_path):
  path = tmp_path / 'audit.jsonl'
  log = audit.Log(path, 'first')
  for number in (3, 7, 5):
    log.begin('masks', number)
  with open(path, 'ab') as file:
    file.write(b'{"a line that is being written')
  before = path.read_bytes()
  with pytest.raises(ValueError, match='audit_log=.*audit.jsonl is in use by another process'):
    audit.Log(path, 'first')
  assert path.read_bytes() == before
  log.close()
  log = audit.Log(path, 'second')
  assert log.last('masks') == 7 and log.last('other') == 0 and log.begun('masks') == 0
  log.close()
  log = audit.Log(path, 'first')
  assert log.begun('masks') == 3
  log.write('attempt', key='masks', number=9)  # As an earlier version wrote it.
  log.close()
  log = audit.Log(path, 'first')
  assert log.last('masks') == 9 and log.begun('masks') == 3
  log.close()


def test_a_line_for_which_there_is_half_the_room_is_not_written_at_all(ruled, tmp_path):
  """So that the log goes on once there is room again, and nobody takes it for one that was changed."""
  path = tmp_path / 'audit.jsonl'
  _, log = protocol.enforced(ruled, path)
  log.begin('a round')
  whole, before = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 40, before[1]))
    for _ in range(2):
      with pytest.raises(OSError, match='No space left|too large'):
        log.begin('a round')
      assert path.stat().st_size == whole
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  log.begin('a round')
  assert sum(entry['what'] == 'begins' for entry in audit.read(path)) == 2
  watch, _ = protocol.enforced(ruled, path)
  assert watch.begun == {'a round': 2}
