"""TFF's executor interface over the computations of this process, for TFF's contexts and for values kept by handles."""

from collections.abc import Mapping
from typing import Any

import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2

# Not public API; TFF's own executors implement these interfaces.
from tensorflow_federated.python.core.impl.computation import computation_impl
from tensorflow_federated.python.core.impl.executors import executor_base, executor_value_base

from tff_vision.runtime.device import clients_values, interpreter, values

structure = tff.structure


class DeviceValue(executor_value_base.ExecutorValue):
  """A value in this process.

  Attributes:
    value: As `interpreter` has it.
  """

  def __init__(self, value: Any, kind: tff.Type, clients: int):
    self.value, self._kind, self._clients = value, kind, clients

  @property
  def type_signature(self) -> tff.Type:
    return self._kind

  @property
  def reference(self) -> Any:
    return self.value

  async def compute(self) -> Any:
    return fetch(self.value, self._kind, self._clients)


class DeviceExecutor(executor_base.Executor):
  """An executor for calls with a fixed number of clients."""

  def __init__(self, runs: interpreter.Interpreter, clients: int):
    self._runs, self._clients = runs, clients

  async def create_value(self, value, type_spec=None):
    if isinstance(value, computation_impl.ConcreteComputation):
      type_spec = value.type_signature
    return DeviceValue(embed(value, type_spec), type_spec, self._clients)

  async def create_call(self, comp, arg=None):
    found = self._runs.call(comp.value, None if arg is None else arg.value, self._clients)
    return DeviceValue(found, comp.type_signature.result, self._clients)

  async def create_struct(self, elements):
    parts = list(structure.iter_elements(structure.from_container(elements)))
    return DeviceValue(structure.Struct([(name, part.value) for name, part in parts]),
                       tff.StructType([(name, part.type_signature) if name else part.type_signature
                                       for name, part in parts]), self._clients)

  async def create_selection(self, source, index):
    return DeviceValue(source.value[index], source.type_signature[index], self._clients)

  def close(self):
    """Does nothing: a value lives as long as something refers to it."""


class DeviceExecutors(tff.framework.ExecutorFactory):
  """Executors of this process for any number of clients."""

  def __init__(self, runs: interpreter.Interpreter):
    self._runs = runs

  def create_executor(self, cardinalities: Mapping[Any, int]) -> DeviceExecutor:
    return DeviceExecutor(self._runs, cardinalities.get(tff.CLIENTS, 0))

  def clean_up_executor(self, cardinalities: Mapping[Any, int]) -> None:
    del cardinalities

  def forget(self) -> None:
    """Does nothing; see `executors.LeanExecutors`."""

  def close(self) -> None:
    self._runs.close()


def embed(value: Any, kind: tff.Type) -> Any:
  """Returns a value of Python as the interpreter has it.

  Raises:
    TypeError: The value is not of this type.
  """
  if isinstance(value, computation_impl.ConcreteComputation):
    return interpreter.Function(computation_impl.ConcreteComputation.get_proto(value))
  if isinstance(value, computation_pb2.Computation):
    return interpreter.Function(value)
  if isinstance(kind, tff.FederatedType):
    if kind.placement is tff.SERVER:
      return interpreter.OfServer(values.embed(value, kind.member))
    if kind.all_equal:
      return clients_values.Same(values.embed(value, kind.member))
    if not isinstance(value, list):
      raise TypeError(f'Values at {kind.placement} are given as a list, found {type(value).__name__}.')
    return clients_values.Given([values.embed(one, kind.member) for one in value])
  if isinstance(kind, tff.StructType):
    return values.embed_parts(value, kind, embed)
  return values.embed(value, kind)


def fetch(value: Any, kind: tff.Type, clients: int) -> Any:
  """Returns a value of the interpreter as Python has it, for this number of clients."""
  if isinstance(kind, tff.FederatedType):
    if isinstance(value, clients_values.Given):
      return [values.fetch(one, kind.member) for one in value.values]
    one = values.fetch(value.value, kind.member)
    return one if kind.placement is tff.SERVER or kind.all_equal else [one] * clients
  if isinstance(kind, tff.StructType):
    return values.fetch_parts(value, kind, lambda part, part_kind: fetch(part, part_kind, clients))
  if isinstance(kind, tff.FunctionType):
    return value.message
  return values.fetch(value, kind)
