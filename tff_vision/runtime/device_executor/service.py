"""TFF's executor service over the interpreter of this process: eight calls, with the errors of `worker_binary`.

Values stay where they were computed, also on a GPU, until they are disposed of or their executor is. Calls that compute
run one after the other; each uses all lanes.

Unlike `worker_binary`, which shares one executor among all callers with the same number of clients, each caller gets an
executor of its own, so nobody can refer to the values of others.
"""

import contextlib
import functools
import itertools
import logging
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import tensorflow as tf
import tensorflow_federated as tff
from google.protobuf import message as protobuf
from tensorflow_federated.proto.v0 import executor_pb2, executor_pb2_grpc

from tff_vision.runtime import serving
from tff_vision.runtime.device import interpreter, lanes, said
from tff_vision.runtime.device_executor import messages

structure = tff.structure
_THREADS = 16
# What goes into the trailer of an answer; gRPC's limit is 8 KB.
_LONGEST_DETAILS = 2000
_log = logging.getLogger(__name__)


class Refused(Exception):
  """A request that cannot be answered; `code` says why to a program."""

  def __init__(self, code: grpc.StatusCode, details: str):
    super().__init__(details)
    self.code = code


class _Executor:
  """The values of one caller."""

  def __init__(self, clients: int):
    self.clients = clients
    self._values: dict[str, Any] = {}
    self._numbers = itertools.count()
    self._lock = threading.Lock()

  def put(self, value):
    with self._lock:
      number = str(next(self._numbers))
      self._values[number] = value
    return executor_pb2.ValueRef(id=number)

  def get(self, reference):
    with self._lock:
      if reference.id in self._values:
        return self._values[reference.id]
    if not reference.id.isdecimal():
      raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'Expected value ref to be an integer id, found {reference.id}')
    raise Refused(grpc.StatusCode.NOT_FOUND, f'value not found: {reference.id}')

  def drop(self, references):
    with self._lock:
      missing = [one.id for one in references if self._values.pop(one.id, self) is self]
    if missing:
      raise Refused(grpc.StatusCode.NOT_FOUND, f'value not found: {missing[0]}, cannot dispose.')


class ExecutorGroup(executor_pb2_grpc.ExecutorGroupServicer):
  """The service; see `served`."""

  def __init__(self, runs: interpreter.Interpreter):
    self._runs = runs
    self._executors: dict[str, _Executor] = {}
    self._numbers = itertools.count()
    self._lock = threading.Lock()

  def GetExecutor(self, request, context):
    with _told(context):
      clients = next((one.cardinality for one in request.cardinalities
                      if one.placement.uri == messages.CLIENTS), None)
      if clients is None:
        raise Refused(grpc.StatusCode.NOT_FOUND, 'No cardinality provided for `clients` placement.')
      if clients < 0:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'There cannot be {clients} clients.')
      with self._lock:
        name = f'clients={clients}/device/{next(self._numbers)}'
        self._executors[name] = _Executor(clients)
      return executor_pb2.GetExecutorResponse(executor=executor_pb2.ExecutorId(id=name))

  def CreateValue(self, request, context):
    with _told(context):
      held = self._executor(request, 'CreateValue')
      value = messages.read(request.value, held.clients)
      if isinstance(value, messages.Unevaluated):
        value = self._runs.call(value.function, None, held.clients)
      return executor_pb2.CreateValueResponse(value_ref=held.put(value))

  def CreateCall(self, request, context):
    with _told(context):
      held = self._executor(request, 'CreateCall')
      function = held.get(request.function_ref)
      argument = held.get(request.argument_ref) if request.HasField('argument_ref') else None
      if not isinstance(function, interpreter.Function):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, 'What is called is no computation.')
      return executor_pb2.CreateCallResponse(value_ref=held.put(self._runs.call(function, argument, held.clients)))

  def CreateStruct(self, request, context):
    with _told(context):
      held = self._executor(request, 'CreateStruct')
      value = structure.Struct.unnamed(*(held.get(element.value_ref) for element in request.element))
      return executor_pb2.CreateStructResponse(value_ref=held.put(value))

  def CreateSelection(self, request, context):
    with _told(context):
      held = self._executor(request, 'CreateSelection')
      source, index = held.get(request.source_ref), request.index
      if not isinstance(source, structure.Struct):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, 'Cannot create selection on non-struct value.')
      if not 0 <= index < len(source):
        raise Refused(grpc.StatusCode.NOT_FOUND,
                      f'Failed to create selection for index [{index}] on structure with length [{len(source)}]')
      return executor_pb2.CreateSelectionResponse(value_ref=held.put(source[index]))

  def Compute(self, request, context):
    with _told(context):
      held = self._executor(request, 'Compute')
      return executor_pb2.ComputeResponse(value=messages.write(held.get(request.value_ref), held.clients))

  def Dispose(self, request, context):
    with _told(context):
      self._executor(request, 'Dispose').drop(request.value_ref)
      return executor_pb2.DisposeResponse()

  def DisposeExecutor(self, request, context):
    del context
    with self._lock:
      self._executors.pop(request.executor.id, None)
    return executor_pb2.DisposeExecutorResponse()

  def _executor(self, request, method):
    with self._lock:
      found = self._executors.get(request.executor.id)
    if found is None:
      # With this code the coordinator connects anew.
      raise Refused(grpc.StatusCode.FAILED_PRECONDITION,
                    f"Error calling `{method}`. No executor found for ID: '{request.executor.id}'.")
    return found


def served(runs: interpreter.Interpreter, address: str) -> contextlib.AbstractContextManager[int]:
  """Serves at host:port while the context is open; yields the port, which is chosen for port 0.

  Raises:
    ValueError: The address cannot be listened at.
  """
  return serving.served(address, functools.partial(executor_pb2_grpc.add_ExecutorGroupServicer_to_server,
                                                   ExecutorGroup(runs)), threads=_THREADS, name='the executor')


@contextlib.contextmanager
def _told(context: grpc.ServicerContext) -> Iterator[None]:
  """Ends the call with the status of an error that is raised inside."""
  try:
    yield
  except Exception as error:  # A graph, and what a coordinator writes around it, may raise anything.
    code, details = status(error)
    if code is grpc.StatusCode.INTERNAL and not isinstance(error, tf.errors.OpError):
      _log.exception('a request failed')
    context.abort(code, details[:_LONGEST_DETAILS])


def status(error: Exception) -> tuple[grpc.StatusCode, str]:
  """Returns the status of a call that failed, and its details."""
  text = str(error)
  if isinstance(error, Refused):
    return error.code, text
  if isinstance(error, tf.errors.OpError):
    return grpc.StatusCode.INTERNAL, f'Failed to run computation: {said.by_tensorflow(error)}'
  if isinstance(error, (lanes.OutOfMemory, MemoryError)):
    return grpc.StatusCode.RESOURCE_EXHAUSTED, text or 'not enough memory'
  if isinstance(error, NotImplementedError):
    return grpc.StatusCode.UNIMPLEMENTED, text
  if isinstance(error, KeyError):
    return grpc.StatusCode.NOT_FOUND, str(error.args[0]) if error.args else text
  told = f'{type(error).__name__}: {text}' if text else type(error).__name__
  if isinstance(error, _MALFORMED):
    return grpc.StatusCode.INVALID_ARGUMENT, told
  return grpc.StatusCode.INTERNAL, told


# What Python raises where a value is not what a computation takes it for.
_MALFORMED = (ArithmeticError, AttributeError, IndexError, RecursionError, StopIteration, TypeError, ValueError,
              protobuf.DecodeError)
