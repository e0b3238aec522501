"""Values that stay in a worker between the phases of a protocol.

A federated computation returns all its results to the coordinator. In a protocol whose parties keep a secret from one
phase to the next, the coordinator must refer to values without fetching them. A `Silo` runs one computation at a time
on one worker and returns handles, which are such references.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeAlias

import tensorflow_federated as tff
from tensorflow_federated.python.common_libs import async_utils, structure
from tensorflow_federated.python.core.impl.executors import executor_base, executor_value_base

from tff_vision import protocols
from tff_vision.runtime.tff_internals import compilation

# Dropping the last reference to a handle frees the value on the worker.
Handle: TypeAlias = executor_value_base.ExecutorValue


class Silo:
  """The worker of one party, controlled phase by phase.

  ```
  secret_and_share = silo.call(make_keys, round_number)       # runs on the worker
  share = silo.fetch(silo.select(secret_and_share, 1))        # only this element crosses the wire
  partial = silo.call(decrypt, silo.select(secret_and_share, 0), ciphertext)
  ```
  Different silos may be used from different threads; one silo accepts one call at a time.
  """

  def __init__(self, open_executor: Callable[[], executor_base.Executor]):
    """Args: `open_executor` returns an executor with its cardinalities set; it is called in the thread that uses it."""
    self._runner = async_utils.AsyncThreadRunner()
    self._executor = open_executor()
    self._functions = {}

  def call(self, computation: tff.Computation, *arguments: object) -> Handle:
    """Runs a computation on the worker; its result stays there.

    Args:
      computation: May have placements in its type only if the executor is for clients.
      *arguments: One for each parameter: handles of this silo, or plain values, which are sent. Or one handle for
        all parameters together.

    Raises:
      WorkerLost: The worker and all its handles are lost; begin the protocol again with new secrets.
    """
    return self._runner.run_coro_and_return_result(self._call(computation, arguments))

  def put(self, value: object, kind: tff.Type) -> Handle:
    """Sends a value of type `kind` that several calls need, and returns its handle."""
    return self._runner.run_coro_and_return_result(self._place(value, kind))

  def select(self, handle: Handle, index: int) -> Handle:
    """Returns the handle of one element of a tuple; nothing is fetched."""
    return self._runner.run_coro_and_return_result(self._executor.create_selection(handle, index))

  def fetch(self, handle: Handle) -> object:
    """Fetches the value from the worker."""
    return self._runner.run_coro_and_return_result(handle.compute())

  def close(self) -> None:
    """Frees every value of this silo on its worker."""
    self._functions.clear()
    self._executor.close()

  async def _call(self, computation, arguments):
    if computation not in self._functions:
      compiled = compilation.compile_once(computation)  # For an encryption this takes 1-2 s, once per run.
      self._functions[computation] = await self._executor.create_value(compiled, compiled.type_signature)
    function = self._functions[computation]
    parameter = computation.type_signature.parameter
    if parameter is None:
      return await self._executor.create_call(function)
    if len(arguments) == 1 and (not isinstance(parameter, tff.StructType) or _is_whole(arguments[0], parameter)):
      return await self._executor.create_call(function, await self._place(arguments[0], parameter))
    if not isinstance(parameter, tff.StructType) or len(parameter) != len(arguments):
      raise TypeError(f'{len(arguments)} arguments for a computation of type {computation.type_signature}.')
    placed = [(name, await self._place(value, kind))
              for value, (name, kind) in zip(arguments, structure.iter_elements(parameter), strict=True)]
    return await self._executor.create_call(function, await self._executor.create_struct(structure.Struct(placed)))

  async def _place(self, value, kind):
    if isinstance(value, executor_value_base.ExecutorValue):
      return value
    return await self._executor.create_value(value, kind)


def _is_whole(argument, parameter):
  return (isinstance(argument, executor_value_base.ExecutorValue)
          and parameter.is_assignable_from(argument.type_signature))


@dataclasses.dataclass(frozen=True)
class Party:
  """One client of a protocol.

  Attributes:
    position: Its position in the cohort.
    silo: Its worker, which may serve several clients.
    client: Its number in the population.
    site: The site that plays its half of protocols itself; None: the coordinator's process plays it.
  """
  position: int
  silo: Silo
  client: int = 0
  site: protocols.Site | None = None


@contextlib.contextmanager
def opened(executors: list[Callable[[], tff.framework.RemoteExecutor]]) -> Iterator[list[Silo]]:
  """Yields a silo for each executor and frees everything in them afterwards."""
  with contextlib.ExitStack() as stack:
    silos = []
    for open_executor in executors:
      silos.append(Silo(open_executor))
      stack.callback(silos[-1].close)
    yield silos
