"""An experiment: one frozen object that is run, and the ways to come by one."""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from tff_vision import configs
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.configs import budget_file_config, runtime_config
from tff_vision.experiment import definition, own_work, planning, result, running, trainer, training
from tff_vision.program import handover, loop, run_directory

RunResult = result.RunResult
Planned = planning.Planned
Training = training.Training
Trainer = trainer.Trainer
Learner = own_work.Learner
OwnWork = own_work.OwnWork
fingerprint = planning.fingerprint
build_plan = planning.build_plan


@dataclasses.dataclass(frozen=True)
class Experiment(definition.Definition):
  """An experiment as one frozen object; any part can be an object of your own.

  `rounds` is a number, so that what yields one round after the other is `iterate`.

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
    rounds_per_evaluation: The test set is looked at every so many rounds.
    seed: Fixes cohorts, first weights and the order of examples.
    schedule: Of learning rates.
    attack: Simulated attackers.
    runtime: Where clients' work is done; the results do not depend on it.
    budget: From `BudgetFile`: what this and other runs on the same data are charged to; the results do not depend on
      it.
  """

  @classmethod
  def from_config(cls, config: configs.ExperimentConfig, *,
                  runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig(),  # noqa: B008  Frozen.
                  budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig()  # noqa: B008
                  ) -> 'Experiment':
    """Returns the experiment that a config describes; its own `config` is equal to that one."""
    return cls(**definition.parts_of(config), runtime=runtime, budget=budget)

  def plan(self, *, secret: bytes | None = None) -> planning.Planned:
    """Returns the task that clients would train on and the privacy plan; nothing is trained.

    Args:
      secret: 32 bytes that decide what a promise needs secret, such as Poisson cohorts; None: fresh ones.

    Raises:
      ValueError: The settings would make the stated epsilon false, or the parts do not fit.
    """
    planning.check(self)
    return planning.plan(self, self.problem, secret=secret)

  def ledger(self, rounds: int | None = None) -> ledger_lib.Statement:
    """Returns what the run, or its first `rounds` rounds, will cost; nothing is trained.

    It is a `Ledger`, or without privacy an object that says so.
    """
    return self.plan().plan.ledger(self.rounds if rounds is None else rounds)

  def prepare(self, place: Any = None, *, client_states: str | os.PathLike[str] | None = None,
              secret: bytes | None = None, like: training.Training | None = None) -> training.Training:
    """Returns the experiment with its learning process built, for programs that do rounds in a way of their own.

    Args:
      place: An open runtime, from `open_runtime(experiment.runtime)`; None: TFF's own default context.
      client_states: Folder of what clients keep between rounds; None: a temporary one, which goes with the training.
      secret: As of `plan`.
      like: A training of an experiment that differs in images, seed, participation or attackers alone: its process,
        which takes seconds to build and compile, serves this one too.

    Raises:
      ValueError: The parts do not fit, or the process of `like` was built for something else.
    """
    return training.prepare(self, place, client_states=client_states, secret=secret, like=like)

  def run(self, directory: str | os.PathLike[str], *,
          on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
          on_start: Callable[[planning.Planned], None] = lambda planned: None,
          stop_requested: Callable[[], bool] = lambda: False,
          keep_secrets: bool = False, show_training_data: bool = False) -> result.RunResult:
    """Trains, evaluates, exports and reports; goes on where `directory` holds this experiment's unfinished run.

    Args:
      directory: The run's folder; made where it is missing.
      on_round: Called with each round's record.
      on_start: Called when everything is built and before the first round.
      stop_requested: Asked after each round; True ends the run so that the next call goes on.
      keep_secrets: Leave checkpoints, journal and clients' states in the folder when a run under a promise has ended.
      show_training_data: Put training images and class mix into the report of a run under a promise, which does not
        cover them.

    Raises:
      ValueError: `directory` holds another experiment's run, or the parts do not fit.
    """
    path = pathlib.Path(directory)
    launch = configs.LaunchConfig(run_dir=str(path), resume=run_directory.RunDirectory(path).config.exists(),
                                  keep_secrets=keep_secrets, show_training_data=show_training_data)
    return running.run(self, launch, running.Watcher(on_start=on_start, on_round=on_round,
                                                     stop_requested=stop_requested))

  def iterate(self, directory: str | os.PathLike[str], *, keep_secrets: bool = False,
              show_training_data: bool = False) -> Iterator[loop.RoundRecord]:
    """Yields each round's record, and trains the next round when it is asked for.

    Leaving the loop stops the run after the round in progress; the next call of `iterate` or `run` goes on.

    Args: As `run`.
    """
    records = handover.Handover()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      training = pool.submit(self.run, directory, on_round=records.give, stop_requested=records.stopped,
                             keep_secrets=keep_secrets, show_training_data=show_training_data)
      training.add_done_callback(lambda _: records.finish())
      try:
        yield from records
      finally:
        records.stop()
      training.result()


from_config = Experiment.from_config


def run(config: configs.ExperimentConfig, launch: configs.LaunchConfig, *,
        runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig(),  # noqa: B008  Frozen.
        budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig(),  # noqa: B008  Frozen.
        on_start: Callable[[planning.Planned], None] = lambda planned: None,
        on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
        stop_requested: Callable[[], bool] = lambda: False) -> result.RunResult:
  """Runs the experiment that a config describes, as a command line says it: see `Experiment.run`.

  Args:
    launch: `run_dir` must be set; only with `resume` does an unfinished run go on.

  Raises:
    ValueError: The config cannot be run, or the folder is not this run's; nothing has been written then.
  """
  return running.run(from_config(config, runtime=runtime, budget=budget), launch,
                     running.Watcher(on_start=on_start, on_round=on_round, stop_requested=stop_requested))


def open_run(run_dir: str | os.PathLike[str], *, data_dir: str | None = None) -> result.RunResult:
  """Returns the finished run in a folder, whose experiment is described by names alone.

  Args:
    data_dir: Where its data lie now, if they were moved.

  Raises:
    ValueError: There is none, or it is not finished, or it holds objects of the program that made it.
  """
  directory = run_directory.RunDirectory(pathlib.Path(run_dir))
  made = from_config(directory.config_at(data_dir))
  report = directory.read_report()
  return result.RunResult(directory=directory, report=report, rounds=report['rounds'], experiment=made)
