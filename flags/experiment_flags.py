"""All flags of an experiment, joined into its configs."""

from collections.abc import Collection
from typing import TypeVar

from flags import (
  aggregation_flags,
  data_flags,
  groups,
  participation_flags,
  privacy_flags,
  program_flags,
  training_flags,
)
from tff_vision import configs

Experiment = TypeVar('Experiment')

GROUPS = (*data_flags.GROUPS, *training_flags.GROUPS, *participation_flags.GROUPS, *privacy_flags.GROUPS,
          *aggregation_flags.GROUPS, *program_flags.GROUPS)


def experiment_config(base: configs.ExperimentConfig | None = None) -> configs.ExperimentConfig:
  """Returns the experiment that the flags describe.

  Args:
    base: The values of flags that were not given, instead of the defaults.

  Raises:
    ValueError: A value is illegal.
  """
  if base is not None:
    return any_config(base)
  given = {flag.name for flag in groups.given(GROUPS)}
  usual = configs.ExperimentConfig() if {'model', 'initial_model'} & given else configs.of_task(
      groups.read(configs.TaskConfig()).task)
  return configs.fitting(any_config(usual), given)


def any_config(base: Experiment) -> Experiment:
  """Returns an experiment of the class of `base`; flags that were not given keep the values of `base`.

  Raises:
    ValueError: A value is illegal.
  """
  return type(base)(**{name: groups.read(getattr(base, name)) for name in configs.sections(type(base))})


def refuse_others(read: Collection[str], reason: str) -> None:
  """Refuses flags of an experiment that were given but are not in `read`.

  Raises:
    ValueError: Names the flag and the reason.
  """
  for flag in groups.given(GROUPS):
    if flag.name not in read:
      raise ValueError(f'{flag.name}={flag.value!r} has no effect here: {reason}.')


def launch_config() -> configs.LaunchConfig:
  """Returns where the run's files go.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(configs.LaunchConfig())
