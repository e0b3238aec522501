"""The devices of this machine that a run computes on: which there are, and how TensorFlow is told to use them."""

import contextlib
import os
from collections.abc import Sequence

import tensorflow as tf

from tff_vision.configs import runtime_config

# While one client's kernels run, the next client's are prepared.
_CLIENTS_ON_A_GPU = 2


def has_gpu() -> bool:
  """Returns whether TensorFlow sees a GPU. The devices can still be chosen afterwards."""
  return bool(tf.config.list_physical_devices('GPU'))


def chosen(config: runtime_config.RuntimeConfig) -> str:
  """Returns the runtime that runtime=auto stands for: `device` if TensorFlow sees a GPU here, otherwise `local`.

  Any other runtime is returned as it is.
  """
  if config.runtime != 'auto':
    return config.runtime
  wants_gpu = not config.devices or any(name.startswith('GPU') for name in config.devices)
  return 'device' if wants_gpu and has_gpu() else 'local'


def claim(config: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig()) -> list[str]:  # noqa: B008  Frozen.
  """Makes TensorFlow in this process use what `config` says; returns the devices on which the clients are computed.

  It is called before anything else uses TensorFlow, whose devices and threads are fixed from then on: also by a model
  that is only built. Repeating it changes nothing. If clients are computed elsewhere, there are no devices, and what
  this process computes takes of a GPU the memory that it needs.

  Raises:
    ValueError: There is no such device.
  """
  if chosen(config) == 'device':
    return choose(config.devices, config.threads)
  _share(tf.config.list_physical_devices('GPU'))
  return []


def choose(devices: Sequence[str], threads: int | None) -> list[str]:
  """Makes TensorFlow use only these devices in this process; returns their names in it.

  A program that has used TensorFlow before cannot choose GPUs or threads any more; then GPUs are those that it uses
  already, and threads stay as they are. GPUs get memory when it is needed, so that other programs can use them too.

  Args:
    devices: `CPU`, `CPU:n` or `GPU:n`, as the machine numbers them; empty: every GPU, or without any the processor.
    threads: Threads of one operation on the processor; None: TensorFlow's choice. With a GPU, TensorFlow chooses.

  Raises:
    ValueError: There is no such device.
  """
  gpus = tf.config.list_physical_devices('GPU')
  wanted = [_full(name) for name in devices] or [f'GPU:{i}' for i in range(len(gpus))] or ['CPU:0']
  numbers = sorted({_number(name, 'GPU', len(gpus)) for name in wanted if name.startswith('GPU')})
  _share(gpus)
  with contextlib.suppress(RuntimeError):  # TensorFlow has begun.
    tf.config.set_visible_devices([gpus[i] for i in numbers], 'GPU')
  with contextlib.suppress(RuntimeError):
    if not numbers and threads is not None:
      tf.config.threading.set_intra_op_parallelism_threads(threads)
  # TensorFlow numbers those that it may use anew.
  names = {f'GPU:{gpus.index(gpu)}': f'GPU:{place}' for place, gpu in enumerate(tf.config.get_visible_devices('GPU'))}
  processors = [name for name in wanted if name.startswith('CPU')]
  if processors not in ([], ['CPU:0']):  # Several logical processors exist only if a program has made them.
    for name in processors:
      _number(name, 'CPU', len(tf.config.list_logical_devices('CPU')))
  for name in wanted:
    if name.startswith('GPU') and name not in names:
      raise ValueError(f'devices names {name}, which this program, having used TensorFlow before, cannot use any more.')
  return [names.get(name, name) for name in wanted]


def clients_at_once(devices: Sequence[str], cores: int | None = None) -> int:
  """Returns how many clients are computed at the same time on each of these devices, unless a number is given."""
  if any(name.startswith('GPU') for name in devices):
    return _CLIENTS_ON_A_GPU
  return max(1, (cores or os.cpu_count() or 1) // len(devices))


def _share(gpus):
  """Leaves what a GPU's memory is not needed for to other programs, and products their precision."""
  # Otherwise GPUs that can would cut the factors of products to 10 bits of mantissa.
  tf.config.experimental.enable_tensor_float_32_execution(False)
  for gpu in gpus:
    # A program that has used TensorFlow, or divided a GPU, has decided on memory itself.
    with contextlib.suppress(RuntimeError, ValueError):
      tf.config.experimental.set_memory_growth(gpu, True)


def _full(name):
  kind, _, number = name.partition(':')
  return f'{kind}:{int(number or 0)}'


def _number(name, kind, count):
  number = int(name.partition(':')[2])
  if number >= count:
    there = ', '.join(f'{kind}:{i}' for i in range(count)) or f'no {kind}'
    raise ValueError(f'devices names {name}, and TensorFlow sees {there} here.')
  return number
