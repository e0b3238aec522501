"""The devices of this machine that a run computes on: which there are, and how TensorFlow is told to use them."""

import os
from collections.abc import Sequence

import tensorflow as tf

# While one client's kernels run, the next client's are prepared.
_CLIENTS_ON_A_GPU = 2


def has_gpu() -> bool:
  """Returns whether TensorFlow sees a GPU. The devices can still be chosen afterwards."""
  return bool(tf.config.list_physical_devices('GPU'))


def choose(devices: Sequence[str], threads: int | None) -> list[str]:
  """Makes TensorFlow use only these devices in this process; returns their names in it.

  A program that has used TensorFlow before cannot choose GPUs or threads any more; then the devices are those that it
  sees, and threads stay as they are. GPUs get memory when it is needed, so that other programs can use them too.

  Args:
    devices: `CPU`, `CPU:n` or `GPU:n`, as the machine numbers them; empty: every GPU, or without any the processor.
    threads: Threads of one operation on the processor; None: TensorFlow's choice. With a GPU, TensorFlow chooses.

  Raises:
    ValueError: There is no such device.
  """
  # Otherwise GPUs that can would cut the factors of products to 10 bits of mantissa.
  tf.config.experimental.enable_tensor_float_32_execution(False)
  gpus = tf.config.list_physical_devices('GPU')
  wanted = [_full(name) for name in devices] or [f'GPU:{i}' for i in range(len(gpus))] or ['CPU:0']
  chosen = sorted({_number(name, 'GPU', len(gpus)) for name in wanted if name.startswith('GPU')})
  try:
    for gpu in gpus:
      tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.set_visible_devices([gpus[i] for i in chosen], 'GPU')
    if not chosen and threads is not None:
      tf.config.threading.set_intra_op_parallelism_threads(threads)
    names = {f'GPU:{number}': f'GPU:{place}' for place, number in enumerate(chosen)}
  except RuntimeError:  # TensorFlow has begun.
    names = {f'GPU:{i}': f'GPU:{i}' for i in range(len(tf.config.list_logical_devices('GPU')))}
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


def _full(name):
  kind, _, number = name.partition(':')
  return f'{kind}:{int(number or 0)}'


def _number(name, kind, count):
  number = int(name.partition(':')[2])
  if number >= count:
    there = ', '.join(f'{kind}:{i}' for i in range(count)) or f'no {kind}'
    raise ValueError(f'devices names {name}, and TensorFlow sees {there} here.')
  return number
