"""The task of a config, as its experiment makes it."""

from tff_vision import configs, experiment, tasks


def task(config: configs.ExperimentConfig) -> tasks.Task:
  """Returns images and model that `config` names, with how its clients train; no promise changes that."""
  made = experiment.from_config(config)
  return made.problem.trained_by(made.client, seed=made.seed)
