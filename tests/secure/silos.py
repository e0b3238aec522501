"""Workers that keep values between phases, on this machine, for tests of phased protocols."""

import contextlib

import grpc
import tensorflow_federated as tff
from tensorflow_federated.python.common_libs import async_utils, structure
from tensorflow_federated.python.core.backends.native import compiler
from tensorflow_federated.python.core.impl.executors import executor_value_base

from tff_vision.runtime import worker_process


class RecordingSilo:
  """A worker driven by handles; remembers the type of everything that was fetched."""

  def __init__(self, port):
    stub = tff.framework.RemoteExecutorGrpcStub(
        grpc.insecure_channel(f'127.0.0.1:{port}', worker_process.CHANNEL_OPTIONS))
    self._executor = tff.framework.RemoteExecutor(stub)
    self._executor.set_cardinalities({tff.CLIENTS: 0})
    self._run = async_utils.AsyncThreadRunner().run_coro_and_return_result
    self.fetched = []

  def call(self, computation, *arguments):
    return self._run(self._call(computation, arguments))

  def select(self, handle, index):
    return self._run(self._executor.create_selection(handle, index))

  def fetch(self, handle):
    self.fetched.append(handle.type_signature)
    return self._run(handle.compute())

  def close(self):
    self._executor.close()

  async def _call(self, computation, arguments):
    native = compiler.desugar_and_transform_to_native(computation)
    function = await self._executor.create_value(native, native.type_signature)
    parameter = computation.type_signature.parameter
    if not isinstance(parameter, tff.StructType):
      return await self._executor.create_call(function, await self._place(arguments[0], parameter))
    placed = [(name, await self._place(value, kind)) for value, (name, kind) in zip(
        arguments, structure.iter_elements(parameter), strict=True)]
    return await self._executor.create_call(function, await self._executor.create_struct(structure.Struct(placed)))

  async def _place(self, value, kind):
    if isinstance(value, executor_value_base.ExecutorValue):
      return value
    return await self._executor.create_value(value, kind)


@contextlib.contextmanager
def running(count):
  """Yields `count` silos, each on an executor process of its own."""
  processes = [worker_process.WorkerProcess(threads=1, max_concurrent_clients=1) for _ in range(count)]
  try:
    for process in processes:
      process.wait_until_serving()
    silos = [RecordingSilo(process.port) for process in processes]
    yield silos
    for silo in silos:
      silo.close()
  finally:
    for process in processes:
      process.stop()
