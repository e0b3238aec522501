"""Where the clients' work is done, as data. Not part of an experiment: only `math` changes the result."""

import dataclasses

from tff_vision.configs import validate

RUNTIMES = ('local', 'workers')
DATA_PLACEMENTS = ('driver', 'worker')
MATHS = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
  """Where the clients' work is done; the result does not depend on it, except for `math`.

  Attributes:
    runtime: `local`: one executor on this machine; `workers`: those of `workers`, or `local_workers` of them.
    workers: host:port of each worker; with no more clients than workers, client i runs on worker i only.
    local_workers: Start so many workers on this machine instead, to rehearse several sites.
    tls_ca: PEM file of the authority that signed the workers' certificates; None means no TLS.
    tls_cert: PEM file of this coordinator's certificate.
    tls_key: PEM file of its private key.
    data_placement: `driver`: examples are sent to the worker; `worker`: it reads them from its own disk.
    worker_data_dir: Folder of the TFRecord files as the workers' executors see it. Read by `worker` only.
    threads: Threads of one operation in an executor started here; None means TensorFlow's choice.
    max_concurrent_clients: Clients that an executor started here trains at the same time; None means one a core.
    math: `float32`, or `bfloat16`: convolutions and matrix products of executors started here multiply numbers cut to 8
      bits of mantissa and add in float32, on processors with AMX; weights stay float32. See docs/explanation/speed.md.
    clients_per_call: Largest number of clients of one call to an executor, which keeps all their updates until they are
      added up; more clients take several calls.
    min_workers: The run ends when fewer workers are left; None means all.
    call_timeout: Seconds after which a call to a worker is given up.
    probe_interval: Seconds between two probes of a worker; after three unanswered ones it is given up.
    reconnect_timeout: Seconds to wait for a lost worker, and for all of them at the start.
    attempts: How often one call is made before its worker is given up.
  """
  runtime: str = 'local'
  workers: tuple[str, ...] = ()
  local_workers: int | None = None
  tls_ca: str | None = None
  tls_cert: str | None = None
  tls_key: str | None = None
  data_placement: str = 'driver'
  worker_data_dir: str = '/data'
  threads: int | None = 1
  max_concurrent_clients: int | None = None
  math: str = 'float32'
  clients_per_call: int = 100
  min_workers: int | None = None
  call_timeout: float = 3600.0
  probe_interval: float = 5.0
  reconnect_timeout: float = 60.0
  attempts: int = 3

  def __post_init__(self):
    validate.one_of(RUNTIMES, runtime=self.runtime)
    validate.one_of(DATA_PLACEMENTS, data_placement=self.data_placement)
    validate.one_of(MATHS, math=self.math)
    validate.positive(clients_per_call=self.clients_per_call, call_timeout=self.call_timeout,
                      probe_interval=self.probe_interval, reconnect_timeout=self.reconnect_timeout,
                      attempts=self.attempts)
    for name in ('local_workers', 'threads', 'max_concurrent_clients', 'min_workers'):
      if getattr(self, name) is not None:
        validate.positive(**{name: getattr(self, name)})
    for address in self.workers:
      host, _, port = address.rpartition(':')
      if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f'workers must be host:port each, found {address!r}.')
    if duplicates := sorted({a for a in self.workers if self.workers.count(a) > 1}):
      raise ValueError(f'workers names {", ".join(duplicates)} more than once.')
    self._check_together()

  def _check_together(self):
    if (self.runtime == 'workers') != bool(self.workers or self.local_workers):
      raise ValueError(f'runtime={self.runtime} does not go with workers={",".join(self.workers)!r} and '
                       f'local_workers={self.local_workers}: name workers for runtime=workers, and only for it.')
    if self.workers and self.local_workers:
      raise ValueError('workers and local_workers exclude each other.')
    tls = (self.tls_ca, self.tls_cert, self.tls_key)
    if any(tls) and not (all(tls) and self.workers):
      raise ValueError(f'tls_ca, tls_cert and tls_key are given together, and only with workers; found {tls}.')
    if self.data_placement == 'worker' and self.runtime == 'local':
      raise ValueError('data_placement=worker needs runtime=workers: a local run reads the data itself.')
    self._check_read()
    if self.min_workers is not None and self.min_workers > self.num_workers:
      raise ValueError(f'min_workers={self.min_workers} is more than the {self.num_workers} workers there are.')

  def _check_read(self):
    """Refuses a field that was set where nothing reads it."""
    unread = {}
    if self.workers:
      unread['math'] = 'is for executors started here; pipelines.worker has a flag of its own'
    if self.runtime == 'local':
      unread |= dict.fromkeys(('call_timeout', 'probe_interval', 'reconnect_timeout', 'attempts'),
                              'has no effect without runtime=workers')
    if self.data_placement == 'driver':
      unread['worker_data_dir'] = 'has no effect without data_placement=worker'
    for name, reason in unread.items():
      if (value := getattr(self, name)) != type(self).__dataclass_fields__[name].default:
        raise ValueError(f'{name}={value} {reason}.')

  @property
  def num_workers(self) -> int:
    """How many workers there are; 0 for a local run."""
    return self.local_workers or len(self.workers)
