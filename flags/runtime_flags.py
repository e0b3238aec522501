"""Where clients' work is done: a coordinator's side, and a worker's."""

import shlex
from collections.abc import Collection

from flags import groups
from tff_vision.configs import dial_config, runtime_config
from tff_vision.runtime.worker import supervisor

EXECUTORS = groups.of(runtime_config.ExecutorConfig, 'Certificate, and executors started here')
GROUPS = (*groups.own(runtime_config.RuntimeConfig, 'Runtime and workers'), *EXECUTORS)
WORKER = (*groups.own(supervisor.WorkerConfig, 'Worker'), *groups.of(dial_config.DialConfig, 'Dialling outwards'),
          *EXECUTORS)


def chosen_runtime(base: runtime_config.RuntimeConfig | None = None) -> runtime_config.RuntimeConfig:
  """Returns the runtime that the flags describe.

  Args:
    base: The values of flags that were not given, instead of the defaults.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(runtime_config.RuntimeConfig() if base is None else base)


def to_go_on(run_dir: str) -> str:
  """Returns the flags with which a run goes on where it was: a run's folder does not say where clients are trained."""
  return shlex.join(['--resume', f'--run_dir={run_dir}', *(flag.serialize() for flag in groups.given(GROUPS))])


def refuse_others(read: Collection[str], reason: str) -> None:
  """Refuses flags of a runtime that were given but are not in `read`.

  Raises:
    ValueError: Names the flag and the reason.
  """
  for flag in groups.given(GROUPS):
    if flag.name not in read:
      raise ValueError(f'{flag.name}={flag.value!r} has no effect here: {reason}.')


def worker_config() -> supervisor.WorkerConfig:
  """Returns the worker that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(supervisor.WorkerConfig())


def dialled() -> dial_config.DialConfig:
  """Returns where the worker dials to, as the flags say.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(dial_config.DialConfig())
