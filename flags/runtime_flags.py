"""Flags of `RuntimeConfig`; those that a worker has too are in executor_flags."""

from absl import flags

from flags import (
    executor_flags,  # noqa: F401  Defines the shared flags.
    sections,
)
from tff_vision.configs import runtime_config

_DEFAULTS = runtime_config.RuntimeConfig()

flags.DEFINE_enum('runtime', _DEFAULTS.runtime, runtime_config.RUNTIMES, 'One executor here, or several workers.')
flags.DEFINE_list('workers', _DEFAULTS.workers, 'host:port of each worker, separated by commas.')
flags.DEFINE_integer('local_workers', _DEFAULTS.local_workers, 'Start so many workers here, to rehearse a fleet.')
flags.DEFINE_string('tls_ca', _DEFAULTS.tls_ca, 'PEM file of the authority that signed the certificates of workers.')
flags.DEFINE_enum('data_placement', _DEFAULTS.data_placement, runtime_config.DATA_PLACEMENTS,
                  'Examples are sent by the driver, or read by the worker from its own disk.')
flags.DEFINE_string('worker_data_dir', _DEFAULTS.worker_data_dir, 'Folder of the data as the executors see it.')
flags.DEFINE_integer('clients_per_call', _DEFAULTS.clients_per_call, 'Largest number of clients of one call.')
flags.DEFINE_integer('min_workers', _DEFAULTS.min_workers, 'End when fewer workers are left; unset means all.')
flags.DEFINE_float('call_timeout', _DEFAULTS.call_timeout, 'Seconds after which a call is given up.')
flags.DEFINE_float('probe_interval', _DEFAULTS.probe_interval, 'Seconds between two looks whether a worker is alive.')
flags.DEFINE_float('reconnect_timeout', _DEFAULTS.reconnect_timeout, 'Seconds to wait for a lost worker.')
flags.DEFINE_integer('attempts', _DEFAULTS.attempts, 'How often a call is made before its worker is given up.')



def chosen_runtime() -> runtime_config.RuntimeConfig:
  """Returns the runtime that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return sections.read(_DEFAULTS)
