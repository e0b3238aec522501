"""The configuration of the runtime. It is not part of an experiment: only `math` and `jit` change results."""

import dataclasses

from tff_vision.configs import compatibility, option, validate

_DEVICES = 'Devices of this machine'
MATHS = ('float32', 'bfloat16', 'float16')
_MOST = 10_000  # Threads, processes and clients at a time; more is a slip, on which programs end in other ways.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
  """What a coordinator and a worker have both: a certificate, and executors that they start."""
  threads: int | None = option.option(
      1, 'Threads of one operation in an executor started here, and of runtime=device on the processor; unset means '
      'TensorFlow\'s choice.', most=_MOST)
  max_concurrent_clients: int | None = option.option(
      None, 'Clients that an executor started here trains at the same time; unset means one a core.', most=_MOST)
  math: str = option.option(
      'float32', 'The type of convolutions and matrix products in training on clients: bfloat16 (in executors on '
      'processors with AMX only), or float16 (runtime=device only; it needs loss_scale): docs/explanation/speed.md.',
      choices=MATHS)
  tls_cert: str | None = option.option(None, 'PEM file of the certificate of this side.')
  tls_key: str | None = option.option(None, 'PEM file of its private key.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig(ExecutorConfig):
  """Where the clients' work is done; the result does not depend on it, except for `math` and `jit`.

  If there are at most as many clients as workers, client i runs only on worker i.
  """
  runtime: str = option.option(
      'local', 'Where clients are trained: an executor here, this process and its GPUs, or workers.')
  devices: tuple[str, ...] = option.option(
      (), 'CPU, or GPU:0, GPU:1 and so on, separated by commas: what runtime=device computes on; unset: every GPU, or '
      'the processor if TensorFlow sees no GPU.', separated=True, topic=_DEVICES)
  clients_per_device: int | None = option.option(
      None, 'Clients that runtime=device trains on each device at the same time; unset means two on a GPU, and one a '
      'core on the processor. Where memory does not suffice it takes fewer.', topic=_DEVICES, most=_MOST)
  stacked_clients: int = option.option(
      1, 'Clients that runtime=device trains in one call, their weights stacked, if their examples have the same '
      'shapes; for small models: docs/how-to/devices.md.', topic=_DEVICES, most=_MOST)
  jit: bool = option.option(
      False, 'Have XLA compile the passes of training on clients; the model is the same within rounding. On processors '
      'this costs time: docs/explanation/speed.md.', topic=_DEVICES)
  workers: tuple[str, ...] = option.option((), 'host:port of each worker, separated by commas.', separated=True)
  local_workers: int | None = option.option(
      None, 'Start so many workers here, to rehearse several sites.', most=_MOST)
  tls_ca: str | None = option.option(
      None, 'PEM file of the authority that signed the certificates of workers; unset means no TLS.')
  data_placement: str = option.option(
      'driver', 'Examples are sent by the driver, or read by the worker from its own disk.')
  worker_data_dir: str = option.option(
      '/data', 'Folder of the data as the executors see it. Read by data_placement=worker only.')
  clients_on_workers: tuple[str, ...] = option.option(
      (), 'Number of clients whose data each worker has, in the order of the workers, separated by commas: the first '
      'clients are on the first worker; unset: the clients are dealt to the workers in turn.', separated=True)
  clients_per_call: int = option.option(
      100, 'Largest number of clients of one call to an executor, which keeps their updates until they are added up.')
  min_workers: int | None = option.option(
      None, 'End when fewer workers are left; unset means all.', most=_MOST)
  call_timeout: float = option.option(3600.0, 'Seconds after which a call to a worker is given up.')
  probe_interval: float = option.option(
      5.0, 'Seconds between two probes of a worker; after three unanswered ones it is given up.')
  reconnect_timeout: float = option.option(60.0, 'Seconds to wait for a lost worker, and for all at the start.')
  attempts: int = option.option(3, 'How often a call is made before its worker is given up.')

  def __post_init__(self):
    option.check_choices(self)
    validate.positive(clients_per_call=self.clients_per_call, call_timeout=self.call_timeout,
                      probe_interval=self.probe_interval, reconnect_timeout=self.reconnect_timeout,
                      attempts=self.attempts)
    option.check_numbers(self)
    for address in self.workers:
      validate.address(workers=address)
    if duplicates := sorted({a for a in self.workers if self.workers.count(a) > 1}):
      raise ValueError(f'workers names {", ".join(duplicates)} more than once.')
    self._check_devices()
    self._check_clients_on_workers()
    self._check_together()

  def _check_devices(self):
    for name in self.devices:
      kind, _, number = name.partition(':')
      if name != 'CPU' and not (kind in ('CPU', 'GPU') and number.isdecimal()):
        raise ValueError(f'devices must be CPU, or GPU:0, GPU:1 and so on, found {name!r}.')
    same = [f'{kind}:{int(number or 0)}' for kind, _, number in (name.partition(':') for name in self.devices)]
    if duplicates := sorted({name for name in same if same.count(name) > 1}):
      raise ValueError(f'devices names {", ".join(duplicates)} more than once.')

  def _check_clients_on_workers(self):
    if not self.clients_on_workers:
      return
    if not all(number.isdecimal() and int(number) for number in self.clients_on_workers):
      raise ValueError(f'clients_on_workers must be positive whole numbers, found '
                       f'{",".join(self.clients_on_workers)!r}.')
    if len(self.clients_on_workers) != self.num_workers:
      raise ValueError(f'clients_on_workers has {len(self.clients_on_workers)} numbers, and there are '
                       f'{self.num_workers} workers.')

  @property
  def worker_of_clients(self) -> tuple[int, ...]:
    """For each client, the number of its worker; empty: clients are dealt to the workers in turn."""
    return tuple(worker for worker, number in enumerate(self.clients_on_workers) for _ in range(int(number)))

  def _check_together(self):
    if (self.runtime == 'workers') != bool(self.workers or self.local_workers):
      raise ValueError(f'runtime={self.runtime} does not go with workers={",".join(self.workers)!r} and '
                       f'local_workers={self.local_workers}: name workers for runtime=workers, and only for it.')
    if self.workers and self.local_workers:
      raise ValueError('workers and local_workers exclude each other.')
    tls = (self.tls_ca, self.tls_cert, self.tls_key)
    if any(tls) and not (all(tls) and self.workers):
      raise ValueError(f'tls_ca, tls_cert and tls_key are given together, and only with workers; found {tls}.')
    compatibility.check(self)
    self._check_read()
    if self.min_workers is not None and self.min_workers > self.num_workers:
      raise ValueError(f'min_workers={self.min_workers} is more than the {self.num_workers} workers there are.')

  def _check_read(self):
    """Refuses a field that was set but that nothing reads in this configuration."""
    unread = {}
    if self.workers:
      unread['math'] = 'is for executors started here; pipelines.worker has a flag of its own'
    if self.runtime == 'device':
      unread['max_concurrent_clients'] = 'is for executors; runtime=device has clients_per_device'
    if self.runtime != 'workers':
      unread |= dict.fromkeys(('call_timeout', 'probe_interval', 'reconnect_timeout', 'attempts'),
                              'has no effect without runtime=workers')
    for name, reason in unread.items():
      if (value := getattr(self, name)) != type(self).__dataclass_fields__[name].default:
        raise ValueError(f'{name}={value} {reason}.')

  @property
  def num_workers(self) -> int:
    """How many workers there are; 0 for a local run."""
    return self.local_workers or len(self.workers)
