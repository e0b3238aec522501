"""The runtime of several workers: installs a `WorkersContext` and removes it again.

```
with remote_runtime(RuntimeConfig(runtime='workers', workers=('a:8000', 'b:8000'))) as runtime:
  output = process.next(state, data)      # any TFF computation
  for fault in runtime.take_faults():
    ...
```
"""

import contextlib
import functools
from collections.abc import Iterator

import tensorflow_federated as tff

from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import connection, context, fleet, key_holder, local_worker, placement
from tff_vision.runtime.worker import tls


@contextlib.contextmanager
def remote_runtime(config: runtime_config.RuntimeConfig) -> Iterator[context.WorkersContext]:
  """Connects to the workers of `config` and makes them TFF's execution context of this thread.

  Raises:
    TooFewWorkers: Fewer than min_workers answer.
    TlsRefused: We do not accept a worker's certificate, or the worker does not accept ours.
  """
  tls_files = None
  if config.tls_ca is not None:
    tls_files = tls.TlsFiles(ca=config.tls_ca, cert=config.tls_cert, key=config.tls_key)
    tls_files.check()  # Before anything is started; gRPC would say it in lines of its own.
  with contextlib.ExitStack() as stack:
    coordinator = _connection(config, _local(config, fleet.COORDINATOR), None)
    stack.callback(coordinator.close)
    coordinator.connect(config.reconnect_timeout)
    if config.local_workers:
      endpoints = [_local(config, f'local-{i}') for i in range(config.local_workers)]
    else:
      endpoints = [connection.RemoteEndpoint(address) for address in config.workers]
    policy = fleet.FaultPolicy(attempts=config.attempts, reconnect_timeout=config.reconnect_timeout,
                               min_workers=config.min_workers or config.num_workers)
    faults: list[fleet.Fault] = []
    workers = fleet.Fleet([_connection(config, endpoint, tls_files) for endpoint in endpoints], policy,
                          faults.append)
    stack.callback(workers.close)
    workers.connect(config.reconnect_timeout)
    rule = placement.Placement(num_workers=config.num_workers, clients_per_call=config.clients_per_call,
                               data_on_workers=config.data_placement == 'worker',
                               workers=config.worker_of_clients)
    made = context.WorkersContext(coordinator=coordinator, workers=workers, rule=rule, attempts=config.attempts,
                                  faults=faults)
    if tls_files is not None:
      made.open_key_holder = functools.partial(_key_holder, stack, config, tls_files)
    stack.enter_context(tff.framework.get_context_stack().install(made))
    yield made


def _key_holder(stack, config, tls_files, address):
  opened = key_holder.KeyHolderConnection(address, tls_files, timeout=config.reconnect_timeout,
                                          call_timeout=config.call_timeout)
  stack.callback(opened.close)
  return opened


def _local(config, name):
  return local_worker.LocalWorker(name, threads=config.threads,
                                  max_concurrent_clients=config.max_concurrent_clients, math=config.math)


def _connection(config, endpoint, tls_files):
  return connection.WorkerConnection(endpoint, tls_files=tls_files, call_timeout=config.call_timeout,
                                     probe_interval=config.probe_interval)
