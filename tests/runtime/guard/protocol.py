"""A small protocol in which a key stays on its worker, a coordinator that speaks it call by call, and an executor.

The executor computes nothing: it gives out handles, and answers every fetch with a number.
"""

import concurrent.futures
import contextlib
import itertools
import time

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2, executor_pb2_grpc

from tff_vision.runtime.tff_internals import sending
from tff_vision.runtime.worker.guard import audit, enforcement, recording, rules, service

NAMES = ('/data/client_000000.tfrecord', '/data/client_000001.tfrecord')
ROUNDS = 2
_LOGS = {}
_VECTOR = tff.TensorType(np.float32, [4])


class Executor(executor_pb2_grpc.ExecutorGroupServicer):
  """Attributes: `asked`: the names of the calls that came through; `values`: the values."""

  def __init__(self):
    self.asked = []
    self.values = []
    self._numbers = itertools.count()

  def GetExecutor(self, request, context):
    self.asked.append('GetExecutor')
    return executor_pb2.GetExecutorResponse(executor=executor_pb2.ExecutorId(id=str(request.cardinalities)))

  def _handle(self, name, kind):
    self.asked.append(name)
    return kind(value_ref=executor_pb2.ValueRef(id=str(next(self._numbers))))

  def CreateValue(self, request, context):
    self.values.append(request.value)
    return self._handle('CreateValue', executor_pb2.CreateValueResponse)

  def CreateCall(self, request, context):
    return self._handle('CreateCall', executor_pb2.CreateCallResponse)

  def CreateStruct(self, request, context):
    return self._handle('CreateStruct', executor_pb2.CreateStructResponse)

  def CreateSelection(self, request, context):
    return self._handle('CreateSelection', executor_pb2.CreateSelectionResponse)

  def Compute(self, request, context):
    self.asked.append('Compute')
    return executor_pb2.ComputeResponse(value=sending.serialize_value(np.float32(1), tff.TensorType(np.float32))[0])

  def Dispose(self, request, context):
    return executor_pb2.DisposeResponse()

  def DisposeExecutor(self, request, context):
    return executor_pb2.DisposeExecutorResponse()


@contextlib.contextmanager
def executor():
  """Yields an executor and its address."""
  server, made = grpc.server(concurrent.futures.ThreadPoolExecutor(4)), Executor()
  executor_pb2_grpc.add_ExecutorGroupServicer_to_server(made, server)
  port = server.add_insecure_port('127.0.0.1:0')
  server.start()
  try:
    yield made, f'127.0.0.1:{port}'
  finally:
    server.stop(None).wait()


def computations():
  """Returns the messages of the protocol's computations."""

  @tff.tensorflow.computation(np.int64)
  def keys(seed):
    drawn = tf.random.stateless_uniform([4], tf.stack([seed, seed]))
    total = tf.data.Dataset.range(3).reduce(np.int64(0), lambda sum, one: sum + one)
    return drawn, drawn * 2 + tf.cast(total, tf.float32)

  @tff.tensorflow.computation(_VECTOR, np.str_)
  def work(state, name):
    return state * 3 + tf.cast(tf.strings.length(name), tf.float32)

  @tff.federated_computation(tff.FederatedType(_VECTOR, tff.SERVER), tff.FederatedType(np.str_, tff.CLIENTS))
  def train(state, names):
    return tff.federated_sum(tff.federated_map(work, (tff.federated_broadcast(state), names)))

  @tff.tensorflow.computation(_VECTOR, _VECTOR)
  def share(sum, secret):
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(sum > 0), ['positive'])]):
      return tf.sin(sum) + tf.tensordot(sum, secret, 1)

  return {name: sending.serialize_value(made, made.type_signature)[0]
          for name, made in (('keys', keys), ('train', train), ('share', share))}


def plain(value, kind):
  return sending.serialize_value(value, tff.types.to_type(kind))[0]


VECTOR = plain(np.ones(4, np.float32), _VECTOR)
STATE = plain(np.ones(4, np.float32), tff.FederatedType(_VECTOR, tff.SERVER))
SEED = plain(np.int64(5), np.int64)


def names(*which):
  return plain(list(which), tff.FederatedType(np.str_, tff.CLIENTS))


class Coordinator:
  """Calls a worker; `made` are the computations that it sends."""

  def __init__(self, channel, made):
    self.stub = executor_pb2_grpc.ExecutorGroupStub(channel)
    self.channel = channel
    self.made = made
    self.silo = self.open(0)
    self.round = self.open(2)

  def open(self, clients, placement='clients'):
    request = executor_pb2.GetExecutorRequest()
    request.cardinalities.add(cardinality=clients).placement.uri = placement
    return self.stub.GetExecutor(request).executor

  def value(self, value, where=None):
    return self.stub.CreateValue(executor_pb2.CreateValueRequest(executor=where or self.silo, value=value)).value_ref

  def call(self, function, argument, where=None):
    if isinstance(function, str):
      function = self.value(self.made[function], where)
    return self.stub.CreateCall(executor_pb2.CreateCallRequest(
        executor=where or self.silo, function_ref=function, argument_ref=argument)).value_ref

  def struct(self, *parts, where=None):
    request = executor_pb2.CreateStructRequest(executor=where or self.silo)
    for part in parts:
      request.element.add().value_ref.CopyFrom(part)
    return self.stub.CreateStruct(request).value_ref

  def select(self, source, index, where=None):
    return self.stub.CreateSelection(executor_pb2.CreateSelectionRequest(
        executor=where or self.silo, source_ref=source, index=index)).value_ref

  def fetch(self, value, where=None):
    return self.stub.Compute(executor_pb2.ComputeRequest(executor=where or self.silo, value_ref=value))

  def dispose(self, value):
    self.stub.Dispose(executor_pb2.DisposeRequest(executor=self.silo, value_ref=[value]))

  def keys(self):
    """Returns the handle of (secret, public)."""
    return self.call('keys', self.value(SEED))

  def train(self, who=NAMES, state=STATE):
    where = self.round
    return self.call('train', self.struct(self.value(state, where), self.value(names(*who), where), where=where), where)

  def share(self, held):
    return self.call('share', self.struct(self.value(VECTOR), self.select(held, 0)))

  def whole_round(self):
    held = self.keys()
    self.fetch(self.select(held, 1))
    self.fetch(self.train(), self.round)
    for _ in range(2):
      self.fetch(self.share(held))
    return held


@contextlib.contextmanager
def guarded(address, watch, made, log=None, own=None):
  """Yields a coordinator in front of a guard."""
  with service.Guard(address, watch, site='north', log=log, own=own).served('127.0.0.1:0') as port:
    with grpc.insecure_channel(f'127.0.0.1:{port}') as channel:
      yield Coordinator(channel, made)


def recorded(address, made):
  """Returns the rules that allow `ROUNDS` rounds."""
  watch = recording.Recording()
  with guarded(address, watch, made) as coordinator:
    with watch.activity('a round'):
      coordinator.whole_round()
    steps = watch.activities['a round'][0]
    return rules.Rules(
        site='north', digest='approval', computations=frozenset(watch.computations), names=frozenset(NAMES),
        values=frozenset(watch.values), most_clients=watch.most_clients,
        most_bytes=ROUNDS * watch.most_bytes('a round'), expires=time.time() + 3600, epsilon=((1, 0.5), (2, 0.75)),
        activities=(rules.Activity(name='a round', orders=(rules.shortened(steps),), most=ROUNDS, trains=True),))


def enforced(ruled, path):
  """Returns what holds to the rules, and its log; whoever had this log before was killed."""
  if path in _LOGS:
    _LOGS.pop(path).close()
  log = _LOGS[path] = audit.Log(path, ruled.digest)
  return enforcement.Enforcement(ruled, log), log
