"""All flags of an experiment, joined into its configs."""

from collections.abc import Collection
from typing import TypeVar

from absl import flags

from flags import (
  aggregation_flags,
  algorithm_flags,
  attack_flags,
  availability_flags,
  cohort_flags,
  data_flags,
  example_flags,
  image_flags,
  mechanism_flags,
  model_flags,
  output_flags,
  partition_flags,
  personal_flags,
  privacy_flags,
  program_flags,
  reading_flags,
  schedule_flags,
  sections,
  secure_flags,
  task_flags,
  training_flags,
)
from tff_vision import configs

Experiment = TypeVar('Experiment')

MODULES = (data_flags, partition_flags, image_flags, reading_flags, task_flags, model_flags, training_flags,
           algorithm_flags, schedule_flags, cohort_flags, availability_flags,
           personal_flags, privacy_flags, mechanism_flags, example_flags, secure_flags, aggregation_flags, attack_flags,
           program_flags, output_flags)


def experiment_config(base: configs.ExperimentConfig | None = None) -> configs.ExperimentConfig:
  """Returns the experiment that the flags describe.

  Args:
    base: Gives the values of flags that were not given, in place of the defaults.

  Raises:
    ValueError: A value is illegal.
  """
  if base is not None:
    return any_config(base)
  given = {flag.name for module in MODULES for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]
           if flag.present}
  return configs.fitting(any_config(configs.ExperimentConfig()), given)


def any_config(base: Experiment) -> Experiment:
  """Returns an experiment of the class of `base`, which gives the values of flags that were not given.

  Raises:
    ValueError: A value is illegal.
  """
  return type(base)(**{name: sections.read(getattr(base, name)) for name in configs.sections(type(base))})


def refuse_others(read: Collection[str], reason: str) -> None:
  """Refuses flags of an experiment that were given and are none of `read`.

  Raises:
    ValueError: Names the flag, and says the reason.
  """
  for module in MODULES:
    for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]:
      if flag.present and flag.name not in read:
        raise ValueError(f'{flag.name}={flag.value!r} has no effect here: {reason}.')


def launch_config() -> configs.LaunchConfig:
  """Returns where the run's files go.

  Raises:
    ValueError: A value is illegal.
  """
  return sections.read(configs.LaunchConfig())
