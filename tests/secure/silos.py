"""Workers that keep values between phases, on this machine, for tests of phased protocols."""

import contextlib

from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import remote
from tff_vision.runtime.tff_internals import handles


class RecordingSilo(handles.Silo):
  """Remembers everything that was fetched."""

  def __init__(self, open_executor):
    super().__init__(open_executor)
    self.fetched = []

  def fetch(self, handle):
    self.fetched.append(super().fetch(handle))
    return self.fetched[-1]


@contextlib.contextmanager
def running(count):
  """Yields `count` silos, each on an executor process of its own."""
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=count, max_concurrent_clients=1)
  with remote.remote_runtime(config) as runtime:
    silos = [RecordingSilo(worker.executor) for worker in runtime.workers]
    yield silos
    for silo in silos:
      silo.close()
