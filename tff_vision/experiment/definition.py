"""What an experiment is made of: one frozen object, from values, or from the sections of a config."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

from tff_vision import configs, objectives, plugins, tasks, values
from tff_vision.configs import budget_file_config, runtime_config, validate
from tff_vision.data import build as data_build
from tff_vision.data import images as images_lib

# Part of an experiment -> its type, and the functions or classes of `tff_vision` that make it.
_MADE_BY = {
    'task': (values.Task, 'Task'), 'client': (configs.ClientConfig, 'Client'),
    'server': (configs.ServerConfig, 'Server'),
    'participation': (configs.CohortConfig, 'Fixed, Poisson, RoundRobin or Allocation'),
    'privacy': (configs.PrivacyConfig, 'ClientGaussian, MatrixFactorization, DistributedGaussian, ExampleDpSgd or '
                'ExampleDistributed'),
    'secure_sum': (configs.SecureConfig, 'ThresholdEncryption, Masks or KeyHolderEncryption'),
    'schedule': (configs.ScheduleConfig, 'configs.ScheduleConfig'),
    'attack': (configs.AttackConfig, 'configs.AttackConfig'),
    'runtime': (runtime_config.RuntimeConfig, 'RuntimeConfig'),
    'budget': (budget_file_config.BudgetFileConfig, 'BudgetFile'),
}


@dataclasses.dataclass(frozen=True)
class Definition:
  """The parts of an experiment; `Experiment` says what each is, and runs them."""
  task: values.Task
  _: dataclasses.KW_ONLY
  algorithm: Any = 'fedavg'
  client: configs.ClientConfig = configs.ClientConfig()
  server: configs.ServerConfig = configs.ServerConfig()
  participation: configs.CohortConfig = configs.CohortConfig()
  privacy: configs.PrivacyConfig = configs.PrivacyConfig()
  secure_sum: configs.SecureConfig = configs.SecureConfig()
  aggregator: Any = None
  rounds: int = 80
  rounds_per_evaluation: int = 10
  seed: int = 0
  select_best: str | None = None
  patience: int | None = None
  schedule: configs.ScheduleConfig = configs.ScheduleConfig()
  attack: configs.AttackConfig = configs.AttackConfig()
  runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig()
  budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig()

  def __post_init__(self) -> None:
    for part, (kind, makers) in _MADE_BY.items():
      found = getattr(self, part)
      if not isinstance(found, kind):  # An object is shown as its type, because it may be a whole data set.
        shown = repr(found) if found is None or isinstance(found, (str, int, float)) else type(found).__name__
        raise ValueError(f'{part} must be made by {makers}, found {shown}.')
    for name in configs.sections():  # `config` raises if the parts do not fit together.
      section = getattr(self.config, name)
      for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if field.type is int or (field.type == int | None and value is not None):
          validate.whole(**{field.name: value})

  def __getstate__(self) -> dict[str, Any]:
    # A copy in another process makes anew what follows from the fields: parts of it cannot be pickled.
    return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

  @functools.cached_property
  def config(self) -> configs.ExperimentConfig:
    """The same experiment as sections of fields, some of which may hold objects: what config.json describes."""
    algorithm, aggregator = self.algorithm, 'mean' if self.aggregator is None else self.aggregator
    return configs.ExperimentConfig(
        **self.task.sections(self.seed), client=self.client, server=self.server, cohort=self.participation,
        algorithm=(algorithm if isinstance(algorithm, configs.AlgorithmConfig)
                   else configs.AlgorithmConfig(algorithm=algorithm)),
        aggregation=(aggregator if isinstance(aggregator, configs.AggregationConfig)
                     else configs.AggregationConfig(aggregator=aggregator)),
        privacy=self.privacy, secure=self.secure_sum, schedule=self.schedule, attack=self.attack,
        program=configs.ProgramConfig(
            rounds=self.rounds, rounds_per_evaluation=self.rounds_per_evaluation, seed=self.seed,
            select_best=self.select_best, patience=self.patience))

  def describe(self) -> Mapping[str, Any]:
    """Returns the content of config.json. A resumed run compares it to check that the experiment is the same."""
    return configs.described(self.config)

  @functools.cached_property
  def images(self) -> images_lib.FederatedImages:
    """The images before any attack; loaded on first access.

    Raises:
      ValueError: They are missing or unusable.
    """
    given = self.task.images
    return given if isinstance(given, images_lib.FederatedImages) else data_build.build(self.config.data,
                                                                                        seed=self.seed)

  def within_population(self) -> Self:
    """Returns the same experiment, with a cohort of all clients if there are fewer than the cohort has.

    Raises:
      ValueError: As for `images`.
    """
    population = len(self.images.train)
    if self.participation.cohort_size <= population:
      return self
    made = dataclasses.replace(self, participation=dataclasses.replace(self.participation, cohort_size=population))
    vars(made)['images'] = self.images  # Loaded once, as `cached_property` keeps it.
    return made

  @functools.cached_property
  def objective(self) -> objectives.Objective:
    """What is learned from the images."""
    return objectives.build(self.config.task, self.images, self.config.data.normal_class)

  @functools.cached_property
  def problem(self) -> tasks.Problem:
    """The images after the changes by simulated attackers, with model and objective; checked on first access.

    Raises:
      ValueError: As for `images`, or the model and the images do not fit together.
    """
    return tasks.build_problem(self.config, self.images, self.objective)

  @functools.cached_property
  def fingerprint(self) -> Mapping[str, str]:
    """Digests of the images, and of content of the parts that config.json must not show; the key names the content.

    With these digests, somebody who holds data can test whether the run used it. They are therefore a secret of the
    run.
    """
    return {**self.images.fingerprint, **plugins.digests(self._objects())}

  def _objects(self):
    return {field.name: getattr(section, field.name) for name in configs.sections()
            for section in [getattr(self.config, name)] for field in dataclasses.fields(section)
            if field.name != 'dataset'}


def parts_of(config: configs.ExperimentConfig) -> dict[str, Any]:
  """Returns the parts of the experiment that a config describes, by name."""
  return {
      'task': values.Task(config.data, model=config.model, objective=config.task),
      'algorithm': config.algorithm, 'client': config.client, 'server': config.server,
      'participation': config.cohort, 'privacy': config.privacy, 'secure_sum': config.secure,
      'aggregator': config.aggregation, 'rounds': config.program.rounds,
      'rounds_per_evaluation': config.program.rounds_per_evaluation, 'seed': config.program.seed,
      'select_best': config.program.select_best, 'patience': config.program.patience,
      'schedule': config.schedule, 'attack': config.attack}
