"""An experiment as one value: what a program that imports `tff_vision` writes down and runs."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tff_vision import configs, experiment, tasks, values
from tff_vision.configs import runtime_config, validate
from tff_vision.program import handover, loop, run_directory

# Part of an experiment -> its type, and what of `tff_vision` makes it.
_MADE_BY = {
    'task': (values.Task, 'Task'), 'client': (configs.ClientConfig, 'Client'),
    'server': (configs.ServerConfig, 'Server'),
    'participation': (configs.CohortConfig, 'Fixed, Poisson, RoundRobin or Allocation'),
    'privacy': (configs.PrivacyConfig, 'ClientGaussian, MatrixFactorization, DistributedGaussian or ExampleDpSgd'),
    'secure_sum': (configs.SecureConfig, 'ThresholdEncryption, Masks or KeyHolderEncryption'),
    'schedule': (configs.ScheduleConfig, 'configs.ScheduleConfig'),
    'attack': (configs.AttackConfig, 'configs.AttackConfig'),
    'runtime': (runtime_config.RuntimeConfig, 'RuntimeConfig'),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
  """An experiment as one frozen object; any part can be an object of your own.

  Attributes:
    task: Images, model and objective.
    algorithm: A name, a `configs.AlgorithmConfig`, or an `Algorithm`.
    client: From `Client`.
    server: From `Server`.
    participation: From `Fixed`, `Poisson`, `RoundRobin` or `Allocation`.
    privacy: From `ClientGaussian`, `MatrixFactorization`, `DistributedGaussian` or `ExampleDpSgd`; by default none.
    secure_sum: From `ThresholdEncryption`, `Masks` or `KeyHolderEncryption`; by default the server sees updates.
    aggregator: A name, a `configs.AggregationConfig`, or any `tff.aggregators` factory; None: the mean.
    rounds: Number of training rounds.
    rounds_per_evaluation: The model is evaluated every so many rounds, and after the last.
    seed: Fixes cohorts, first weights and the order of examples.
    schedule: Of learning rates.
    attack: Simulated attackers.
    runtime: Where clients' work is done; the results do not depend on it.
  """
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
  schedule: configs.ScheduleConfig = configs.ScheduleConfig()
  attack: configs.AttackConfig = configs.AttackConfig()
  runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig()

  def __post_init__(self):
    for part, (kind, makers) in _MADE_BY.items():
      found = getattr(self, part)
      if not isinstance(found, kind):  # Of an object its type: it may be a whole data set.
        shown = repr(found) if found is None or isinstance(found, (str, int, float)) else type(found).__name__
        raise ValueError(f'{part} must be made by {makers}, found {shown}.')
    for name in configs.sections():  # `config` raises where parts do not fit.
      section = getattr(self.config, name)
      for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if field.type is int or (field.type == int | None and value is not None):
          validate.whole(**{field.name: value})

  @functools.cached_property
  def config(self) -> configs.ExperimentConfig:
    """The same experiment as sections of fields, some of which hold objects."""
    algorithm, aggregator = self.algorithm, 'mean' if self.aggregator is None else self.aggregator
    return configs.ExperimentConfig(
        **self.task.sections(), client=self.client, server=self.server, cohort=self.participation,
        algorithm=(algorithm if isinstance(algorithm, configs.AlgorithmConfig)
                   else configs.AlgorithmConfig(algorithm=algorithm)),
        aggregation=(aggregator if isinstance(aggregator, configs.AggregationConfig)
                     else configs.AggregationConfig(aggregator=aggregator)),
        privacy=self.privacy, secure=self.secure_sum, schedule=self.schedule, attack=self.attack,
        program=configs.ProgramConfig(rounds=self.rounds, rounds_per_evaluation=self.rounds_per_evaluation,
                                      seed=self.seed))

  def describe(self) -> Mapping[str, Any]:
    """Returns what config.json holds. A run continues in a folder only if this is the same there."""
    return configs.described(self.config)

  def ledger(self, rounds: int | None = None) -> Mapping[str, Any]:
    """Returns the privacy ledger of the whole run, or of its first `rounds` rounds; nothing is trained."""
    plan = experiment.build_plan(self.config, tasks.build_task(self.config))
    return plan.ledger(self.rounds if rounds is None else rounds)

  def run(self, directory: str | os.PathLike[str], *,
          on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
          stop_requested: Callable[[], bool] = lambda: False) -> experiment.RunResult:
    """Trains, evaluates, exports and reports; continues an unfinished run of this experiment in `directory`.

    Args:
      directory: The run's folder; it is made if it is missing.
      on_round: Called with each round's record.
      stop_requested: Called after each round; True ends the run so that the next call continues it.

    Raises:
      ValueError: `directory` holds another experiment's run, or the parts do not fit.
    """
    path = pathlib.Path(directory)
    launch = configs.LaunchConfig(run_dir=str(path), resume=run_directory.RunDirectory(path).config.exists())
    return experiment.run(self.config, launch, runtime=self.runtime, on_round=on_round, stop_requested=stop_requested)

  def iterate(self, directory: str | os.PathLike[str]) -> Iterator[loop.RoundRecord]:
    """Yields the record of each round; a round is trained when the loop asks for it.

    Leaving the loop stops the run after the round in progress; the next call of `iterate` or `run` continues it.
    """
    records = handover.Handover()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      training = pool.submit(self.run, directory, on_round=records.give, stop_requested=records.stopped)
      training.add_done_callback(lambda _: records.finish())
      try:
        yield from records
      finally:
        records.stop()
      training.result()
