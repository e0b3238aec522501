"""The execution context of a run in this process, on the devices of this machine."""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.configs import runtime_config
from tff_vision.runtime.device import compiling, copies, executor, interpreter, lanes, low_types, visible
from tff_vision.runtime.driver import fleet, local, one_executor
from tff_vision.runtime.tff_internals import allocator


@contextlib.contextmanager
def device_place(config: runtime_config.RuntimeConfig) -> Iterator['DeviceContext']:
  """Makes every TFF computation in the `with` block run in this process, on the devices of `config`.

  Raises:
    ValueError: There is no such device, or it lacks what `jit` needs.
  """
  devices = visible.choose(config.devices, config.threads)
  if config.jit:
    compiling.check(devices)
  with one_executor.installed(lambda: DeviceContext(
      devices, config.clients_per_device or visible.clients_at_once(devices), config.clients_per_call,
      config.math, jit=config.jit, stacked_clients=config.stacked_clients)) as opened:
    yield opened


@contextlib.contextmanager
def chosen_place(config: runtime_config.RuntimeConfig) -> Iterator[one_executor.OneExecutorContext]:
  """Opens what `visible.chosen` says."""
  if visible.chosen(config) == 'device':
    with device_place(config) as opened:
      yield opened
  else:
    with local.local_place(config) as opened:
      yield opened


def described() -> str:
  """Returns a text that says where clients are trained, and how many at a time, while a `DeviceContext` is open."""
  context, threads = tff.framework.get_context_stack().current, tf.config.threading.get_intra_op_parallelism_threads()
  on_gpu = any(name.startswith('GPU') for name in context.devices)
  each = '' if on_gpu else f', {threads} thread(s) each' if threads else ', threads as TensorFlow chooses'
  return (f'{context.clients_per_device} at a time on each of {", ".join(context.devices)}{each}, in this process, '
          f'{context.math}{", compiled" if context.jit else ""}'
          f'{f", {context.stacked_clients} in a call" if context.stacked_clients > 1 else ""} '
          f'(--clients_per_device, --devices{"" if on_gpu else ", --threads"}, --math, --jit, --stacked_clients)')


class DeviceContext(one_executor.OneExecutorContext):
  """Runs all clients in this process.

  Attributes:
    clients_per_device: The number of clients that are computed on each of them at the same time, as long as there is
      enough memory.
    math: The type of products in clients' training, as in `RuntimeConfig`.
    jit: Whether XLA compiles the passes of clients' training.
    stacked_clients: The largest number of clients in one call.
  """

  def __init__(self, devices: Sequence[str], clients_per_device: int, clients_per_call: int, math: str = 'float32',
               *, jit: bool = False, stacked_clients: int = 1):
    allocator.share_freed_memory()
    self._devices, self.clients_per_device, self.math, self.jit = tuple(devices), clients_per_device, math, jit
    self.stacked_clients = stacked_clients
    self._faults: list[fleet.Fault] = []
    self._in_float32: set[str] = set()
    rewritings = [] if math == 'float32' else [low_types.LowType(
        tf.as_dtype(math), frozenset(name.partition(':')[0] for name in devices), self._lacking).rewrite]
    if jit:
      rewritings.append(compiling.compile_passes)
    self._runs = interpreter.Interpreter(lanes.Lanes(devices, clients_per_device, self._ended),
                                         copies.Copies(rewritings=rewritings, most_clients=stacked_clients,
                                                       told=self._alone))
    super().__init__(executor.DeviceExecutors(self._runs), open_for_handles=self._executor, pids=(),
                     concurrent_calls=len(devices) * clients_per_device * stacked_clients,
                     clients_per_call=clients_per_call)

  @property
  def devices(self) -> Sequence[str]:
    return self._devices

  def take_faults(self) -> Sequence[fleet.Fault]:
    """Returns the failures since the last call: lanes with too little memory, products without a kernel."""
    taken = list(self._faults)
    del self._faults[:len(taken)]
    return taken

  def _ended(self, device, reason):
    self._faults.append(fleet.Fault(device, reason))

  def _lacking(self, operation):
    if operation not in self._in_float32:
      self._in_float32.add(operation)
      where = ', '.join(self.devices)
      self._faults.append(fleet.Fault(where, f'TensorFlow has no kernel of {operation} in {self.math} for {where}: it '
                                             'runs in float32.'))

  def _alone(self, reason):
    self._faults.append(fleet.Fault(', '.join(self.devices), f'--stacked_clients: clients are computed one after the '
                                                             f'other: {reason}'))

  def _executor(self):
    return executor.DeviceExecutor(self._runs, 0)
