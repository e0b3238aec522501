"""Workers that keep values between phases, on this machine, for tests of phased protocols."""

import contextlib

import grpc
import tensorflow_federated as tff

from tff_vision.runtime import handles, worker_process


class RecordingSilo(handles.Silo):
  """Remembers the type of everything that was fetched."""

  def __init__(self, port):
    self.fetched = []
    super().__init__(lambda: _executor(port))

  def fetch(self, handle):
    self.fetched.append(handle.type_signature)
    return super().fetch(handle)


def _executor(port):
  channel = grpc.insecure_channel(f'127.0.0.1:{port}', worker_process.CHANNEL_OPTIONS)
  executor = tff.framework.RemoteExecutor(tff.framework.RemoteExecutorGrpcStub(channel), dispose_batch_size=1)
  executor.set_cardinalities({tff.CLIENTS: 0})
  return executor


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
