"""The places where clients' work is done, by name."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from tff_vision.runtime import context, fleet, local, remote, runtime_config, stub


@dataclasses.dataclass(frozen=True)
class LocalRuntime:
  """One executor on this machine: every client runs there, and its end is the run's end.

  Attributes:
    pids: The processes that compute for the run.
  """
  pids: Sequence[int]

  WorkerLost: ClassVar = stub.WorkerLost

  def cohort(self, clients: Sequence[int], population: int) -> contextlib.AbstractContextManager[None]:
    """Does nothing: there is one place only."""
    del clients, population
    return contextlib.nullcontext()

  def take_faults(self) -> Sequence[fleet.Fault]:
    return ()


@contextlib.contextmanager
def _local(config):
  with local.local_runtime(threads=config.threads, max_concurrent_clients=config.max_concurrent_clients,
                           math=config.math) as worker:
    yield LocalRuntime([worker.pid])


RUNTIMES: Mapping[str, Callable[[runtime_config.RuntimeConfig], contextlib.AbstractContextManager]] = {
    'local': _local,
    'workers': remote.remote_runtime,
}


@contextlib.contextmanager
def open_runtime(config: runtime_config.RuntimeConfig) -> Iterator[LocalRuntime | context.WorkersContext]:
  """Makes TFF computations in the `with` block run where `config` says.

  Raises:
    ValueError: Fewer than min_workers answer; a certificate is refused.
    RuntimeError: A local executor does not start.
  """
  with RUNTIMES[config.runtime](config) as opened:
    yield opened
