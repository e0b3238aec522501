"""All flags of an experiment, joined into its configs."""

from flags import (
  aggregation_flags,
  algorithm_flags,
  attack_flags,
  availability_flags,
  cohort_flags,
  data_flags,
  image_flags,
  mechanism_flags,
  model_flags,
  output_flags,
  partition_flags,
  personal_flags,
  privacy_flags,
  program_flags,
  schedule_flags,
  sections,
  secure_flags,
  task_flags,
  training_flags,
)
from tff_vision import configs

MODULES = (data_flags, partition_flags, image_flags, task_flags, model_flags, training_flags, algorithm_flags,
           schedule_flags, cohort_flags, availability_flags,
           personal_flags, privacy_flags, mechanism_flags, secure_flags, aggregation_flags, attack_flags, program_flags,
           output_flags)


def experiment_config(base: configs.ExperimentConfig | None = None) -> configs.ExperimentConfig:
  """Returns the experiment that the flags describe.

  Args:
    base: Gives the values of flags that were not given, in place of the defaults.

  Raises:
    ValueError: A value is illegal.
  """
  base = base or configs.ExperimentConfig()
  return configs.ExperimentConfig(**{
      name: sections.read(getattr(base, name)) for name in configs.sections()})


def launch_config() -> configs.LaunchConfig:
  """Returns where the run's files go.

  Raises:
    ValueError: A value is illegal.
  """
  return sections.read(configs.LaunchConfig())
