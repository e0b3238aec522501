"""Values that stay in a worker between the phases of a protocol.

A federated computation returns everything that it computes to the coordinator. A protocol whose parties keep a
secret from one phase to the next needs values that the coordinator can name but does not fetch: a `Silo` runs one
computation at a time on one worker and hands out such names.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import tensorflow_federated as tff
from tensorflow_federated.python.common_libs import async_utils, structure
from tensorflow_federated.python.core.impl.executors import executor_value_base

from tff_vision.runtime.tff_internals import compilation

# Dropping the last reference to a handle frees the value on the worker.
Handle = executor_value_base.ExecutorValue


class Silo:
  """One party's worker, driven phase by phase.

  ```
  secret_and_share = silo.call(make_keys, round_number)       # runs on the worker
  share = silo.fetch(silo.select(secret_and_share, 1))        # only this element crosses the wire
  partial = silo.call(decrypt, silo.select(secret_and_share, 0), ciphertext)
  ```
  Different silos may be driven from different threads; one silo takes one call at a time.
  """

  def __init__(self, open_executor: Callable[[], tff.framework.RemoteExecutor]):
    """Args: `open_executor` returns an executor whose cardinalities are set, in the thread that will use it."""
    self._runner = async_utils.AsyncThreadRunner()
    self._executor = open_executor()
    self._functions = {}

  def call(self, computation: tff.Computation, *arguments: object) -> Handle:
    """Runs a computation on the worker; its result stays there.

    Args:
      computation: Its type has placements only if the executor is one for clients.
      *arguments: One for each parameter: handles of this silo, or plain values, which are sent; or one handle of
        all of them.

    Raises:
      WorkerLost: The worker is gone and with it every handle: begin the protocol again with fresh secrets.
    """
    return self._runner.run_coro_and_return_result(self._call(computation, arguments))

  def put(self, value: object, kind: tff.Type) -> Handle:
    """Sends a value of this type, which more than one call needs."""
    return self._runner.run_coro_and_return_result(self._place(value, kind))

  def select(self, handle: Handle, index: int) -> Handle:
    """Returns the handle of one element of a tuple; nothing is fetched."""
    return self._runner.run_coro_and_return_result(self._executor.create_selection(handle, index))

  def fetch(self, handle: Handle) -> object:
    """Returns the value itself: it crosses the wire."""
    return self._runner.run_coro_and_return_result(handle.compute())

  def close(self) -> None:
    """Frees every value of this silo on its worker."""
    self._functions.clear()
    self._executor.close()

  async def _call(self, computation, arguments):
    if computation not in self._functions:
      compiled = compilation.compile_once(computation)  # A second or two for an encryption, paid once a run.
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
    position: In the cohort.
    silo: Its worker, which may stand for several clients.
  """
  position: int
  silo: Silo


@contextlib.contextmanager
def opened(executors: list[Callable[[], tff.framework.RemoteExecutor]]) -> Iterator[list[Silo]]:
  """Yields a silo for each executor and frees everything in them afterwards."""
  with contextlib.ExitStack() as stack:
    silos = []
    for open_executor in executors:
      silos.append(Silo(open_executor))
      stack.callback(silos[-1].close)
    yield silos
