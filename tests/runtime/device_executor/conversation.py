"""What a coordinator says to an executor, call by call, in honest and in broken ways."""

import collections

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2, executor_pb2_grpc
from tensorflow_federated.python.core.impl.types import type_serialization

from tff_vision.runtime.tff_internals import compilation, sending

CLIENTS, SERVER = tff.CLIENTS, tff.SERVER


class Caller:
  """The eight calls; values are handles."""

  def __init__(self, channel):
    self.stub = executor_pb2_grpc.ExecutorGroupStub(channel)
    self.channel = channel

  def open(self, clients=2, placement='clients'):
    request = executor_pb2.GetExecutorRequest()
    if clients is not None:
      request.cardinalities.add(cardinality=clients).placement.uri = placement
    return self.stub.GetExecutor(request).executor

  def put(self, where, value):
    return self.stub.CreateValue(executor_pb2.CreateValueRequest(executor=where, value=value)).value_ref

  def call(self, where, function, argument=None):
    return self.stub.CreateCall(executor_pb2.CreateCallRequest(
        executor=where, function_ref=function, argument_ref=argument)).value_ref

  def struct(self, where, *parts):
    request = executor_pb2.CreateStructRequest(executor=where)
    for name, part in parts:
      request.element.add(name=name).value_ref.CopyFrom(part)
    return self.stub.CreateStruct(request).value_ref

  def select(self, where, source, index):
    return self.stub.CreateSelection(executor_pb2.CreateSelectionRequest(
        executor=where, source_ref=source, index=index)).value_ref

  def fetch(self, where, value):
    return self.stub.Compute(executor_pb2.ComputeRequest(executor=where, value_ref=value)).value

  def dispose(self, where, *values):
    return self.stub.Dispose(executor_pb2.DisposeRequest(executor=where, value_ref=values))

  def close(self, where):
    return self.stub.DisposeExecutor(executor_pb2.DisposeExecutorRequest(executor=where))

  def ran(self, function, *argument, clients=2):
    """Returns what a function gives for plain values."""
    where = self.open(clients)
    return self.fetch(where, self.call(where, self.put(where, function), *(self.put(where, one) for one in argument)))


def heard(caller, say):
  """Returns the answer of a conversation as bytes, or the status with which it ended."""
  try:
    answer = say(caller)
  except grpc.RpcError as error:
    return error.code()
  return answer.SerializeToString(deterministic=True)


def plain(value, kind):
  return sending.serialize_value(value, tff.types.to_type(kind))[0]


def compiled(computation):
  made = compilation.native_form(computation)
  return sending.serialize_value(made, made.type_signature)[0]


@tff.tensorflow.computation(np.float32)
def increase(x):
  return x + 1


@tff.tensorflow.computation(np.float32, np.float32)
def add(x, y):
  return x + y


@tff.tensorflow.computation(np.float32)
def positive(x):
  with tf.control_dependencies([tf.debugging.Assert(x > 0, ['refused: it is not positive.'])]):
    return tf.identity(x)


@tff.tensorflow.computation
def kinds():
  """One value of each kind."""
  return collections.OrderedDict(
      whole=tf.constant(3), numbers=tf.constant([1.5, 2]), text=tf.constant('x'), texts=tf.constant(['a', 'bc']),
      half=tf.constant(1.5, tf.float16), brain=tf.constant([1.5], tf.bfloat16), none=tf.zeros([0, 3]),
      flags=tf.constant([True, False]), large=tf.constant([1, 2], tf.uint64),
      complex=tf.constant([1 + 2j], tf.complex64), empty=(), flag=tf.constant(True),
      one_complex=tf.constant(1 + 2j, tf.complex64),
      one_brain=tf.constant(2.5, tf.bfloat16), double=tf.constant(0.1, tf.float64), byte=tf.constant(200, tf.uint8))


@tff.tensorflow.computation
def numbers():
  return tf.data.Dataset.range(3)


@tff.federated_computation(tff.FederatedType(np.float32, CLIENTS))
def total(values):
  return tff.federated_sum(tff.federated_map(positive, values))


@tff.federated_computation(tff.FederatedType(np.float32, CLIENTS))
def increased(values):
  return tff.federated_map(increase, values)


@tff.federated_computation(tff.FederatedType(np.float32, SERVER), tff.FederatedType(np.float32, CLIENTS))
def everything(state, values):
  """Every operator that the compiler leaves in a computation."""
  sent = tff.federated_broadcast(state)
  worked = tff.federated_map(add, (sent, values))
  first = tff.federated_eval(tff.tensorflow.computation(lambda: tf.constant(2.0)), CLIENTS)
  own = tff.federated_eval(tff.tensorflow.computation(lambda: tf.constant(5.0)), SERVER)
  both = tff.federated_zip((tff.federated_sum(worked), own))
  return collections.OrderedDict(
      state=tff.federated_map(add, both), clients=worked, mean=tff.federated_mean(worked, first),
      two=tff.federated_value(7.0, SERVER), three=tff.federated_value(8.0, CLIENTS))


@tff.tensorflow.computation(tff.SequenceType(np.int64))
def counted(sequence):
  return sequence.reduce(np.int64(0), lambda total, one: total + one)


@tff.federated_computation(tff.FederatedType(tff.SequenceType(np.int64), CLIENTS))
def doubled_and_added(sequences):
  """Maps and reduces by TFF's own operators, on clients."""
  double = tff.tensorflow.computation(lambda x: x * 2, np.int64)
  plus = tff.tensorflow.computation(lambda x, y: x + y, (np.int64, np.int64))
  zero = tff.tensorflow.computation(lambda: np.int64(100))

  @tff.federated_computation(tff.SequenceType(np.int64))
  def work(sequence):
    return tff.sequence_reduce(tff.sequence_map(double, sequence), zero(), plus)

  return tff.federated_map(work, sequences)


@tff.tensorflow.computation((np.float32, [4]), np.int32)
def entry(values, key):
  return tf.gather(values, key)


@tff.tensorflow.computation(tff.SequenceType(np.float32))
def added(sequence):
  return sequence.reduce(np.float32(0), lambda total, one: total + one)


@tff.federated_computation(tff.FederatedType((np.int32, [2]), CLIENTS), tff.FederatedType(np.int32, SERVER),
                           tff.FederatedType((np.float32, [4]), SERVER))
def selected(keys, most, values):
  return tff.federated_map(added, tff.federated_select(keys, most, values, entry))


ONE = plain(np.float32(1), np.float32)
VECTOR = plain(np.ones(4, np.float32), (np.float32, [4]))


def at_clients(*values):
  return plain(list(map(np.float32, values)), tff.FederatedType(np.float32, CLIENTS))


def at_server(value):
  return plain(np.float32(value), tff.FederatedType(np.float32, SERVER))


def computation(fill):
  """Returns a value whose computation `fill` writes."""
  made = executor_pb2.Value()
  made.computation.SetInParent()
  fill(made.computation)
  return made


def reference(name):
  return computation(lambda message: setattr(message.reference, 'name', name))


def intrinsic(uri, kind=None):
  def fill(message):
    message.intrinsic.uri = uri
    if kind is not None:
      message.type.CopyFrom(type_serialization.serialize_type(kind))
  return computation(fill)


def identity():
  def fill(message):
    part = getattr(message, 'lambda')
    part.parameter_name = 'p'
    part.result.reference.name = 'p'
  return computation(fill)


def literal():
  return computation(lambda message: message.literal.value.CopyFrom(plain(np.int32(5), np.int32).array))


def block():
  """Returns a block: let a = 5, b = a in <a, b>[1]."""
  def fill(message):
    for name, value in (('a', literal().computation), ('b', reference('a').computation)):
      message.block.local.add(name=name).value.CopyFrom(value)
    chosen = message.block.result.selection
    chosen.index = 1
    for name in 'ab':
      chosen.source.struct.element.add(name=name).value.reference.name = name
  return computation(fill)


def changed(value, change):
  """Returns a copy of a value that was changed."""
  made = executor_pb2.Value()
  made.CopyFrom(value)
  change(made)
  return made


def deep(levels):
  """Returns selections from selections."""
  made = computation_pb2.Computation()
  for _ in range(levels):
    outer = computation_pb2.Computation()
    outer.selection.source.CopyFrom(made)
    made = outer
  return computation(lambda message: message.CopyFrom(made))
