"""Where clients' work is done: a coordinator's side, and a worker's."""

from flags import groups
from tff_vision.configs import runtime_config
from tff_vision.runtime.worker import supervisor

EXECUTORS = groups.of(runtime_config.ExecutorConfig, 'Certificate, and executors started here')
GROUPS = (*groups.own(runtime_config.RuntimeConfig, 'Runtime and workers'), *EXECUTORS)
WORKER = (*groups.own(supervisor.WorkerConfig, 'Worker'), *EXECUTORS)


def chosen_runtime() -> runtime_config.RuntimeConfig:
  """Returns the runtime that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(runtime_config.RuntimeConfig())


def worker_config() -> supervisor.WorkerConfig:
  """Returns the worker that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(supervisor.WorkerConfig())
