"""An experiment: one frozen object that is run, and the ways to come by one."""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from tff_vision import configs
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.configs import budget_file_config, runtime_config, validate
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
    task: The images, the model and the objective.
    algorithm: A name, a `configs.AlgorithmConfig`, or an `Algorithm`.
    client: From `Client`.
    server: From `Server`.
    participation: From `Fixed`, `Poisson`, `RoundRobin` or `Allocation`.
    privacy: From `ClientGaussian`, `MatrixFactorization`, `DistributedGaussian`, `ExampleDpSgd` or
      `ExampleDistributed`; default: none.
    secure_sum: From `ThresholdEncryption`, `Masks` or `KeyHolderEncryption`; by default the server sees the updates.
    aggregator: A name, a `configs.AggregationConfig`, or any `tff.aggregators` factory; None: the mean.
    rounds: The number of training rounds.
    rounds_per_evaluation: The model is evaluated on the test set every `rounds_per_evaluation` rounds.
    seed: Determines the cohorts, the initial weights and the order of the examples.
    select_best: The metric by which the best model on the clients' validation examples is kept: `accuracy`, `auc` or
      `loss`; None: the model of the last round.
    patience: The run ends after so many evaluations without a better model; None: after all rounds.
    schedule: The schedule of the learning rates.
    attack: The simulated attackers.
    runtime: Where the clients' work is executed; the results do not depend on it.
    budget: From `BudgetFile`: the privacy budget that is charged for this run and for other runs on the same data. The
      results do not depend on it.
  """

  @classmethod
  def from_config(cls, config: configs.ExperimentConfig, *,
                  runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig(),  # noqa: B008  Frozen.
                  budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig()  # noqa: B008
                  ) -> 'Experiment':
    """Returns the experiment that `config` describes; the `config` of the experiment is equal to it."""
    return cls(**definition.parts_of(config), runtime=runtime, budget=budget)

  def plan(self, *, secret: bytes | None = None) -> planning.Planned:
    """Returns the task that clients would train on and the privacy plan; nothing is trained.

    Args:
      secret: 32 bytes that seed everything that must stay secret for the privacy guarantee, such as Poisson cohorts;
        None: fresh bytes.

    Raises:
      ValueError: The settings would make the stated epsilon false, or the parts do not fit.
    """
    planning.check(self)
    return planning.plan(self, self.problem, secret=secret)

  def ledger(self, rounds: int | None = None) -> ledger_lib.Statement:
    """Returns what the run, or its first `rounds` rounds, will cost; nothing is trained.

    The result is a `Ledger`. Without a privacy mechanism, it is an object that says so.

    Raises:
      ValueError: As for `plan`, or `rounds` is no number of rounds that has a cost.
    """
    if rounds is not None:
      validate.whole(rounds=rounds)
      validate.non_negative(rounds=rounds)
    return self.plan().plan.ledger(self.rounds if rounds is None else rounds)

  def prepare(self, place: Any = None, *, client_states: str | os.PathLike[str] | None = None,
              secret: bytes | None = None, like: training.Training | None = None) -> training.Training:
    """Builds the learning process and returns the training, for programs that run the rounds themselves.

    Args:
      place: An open runtime, from `open_runtime(experiment.runtime)`; None: TFF's own default
        context, which is there until a runtime was open.
      client_states: The folder for the state that clients keep between rounds; None: a temporary folder, which is
        deleted together with the training.
      secret: As for `plan`.
      like: A training of an experiment that differs only in images, seed, participation or attackers. Its process is
        reused, because building and compiling a process takes seconds. Noise that follows from any of these must be
        the same in both.

    Raises:
      ValueError: The parts do not fit, or the process of `like` was built for something else.
    """
    return training.prepare(self, place, client_states=client_states, secret=secret, like=like)

  def run(self, directory: str | os.PathLike[str], *,
          on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
          on_start: Callable[[planning.Planned], None] = lambda planned: None,
          stop_requested: Callable[[], bool] = lambda: False,
          keep_secrets: bool = False, show_training_data: bool = False) -> result.RunResult:
    """Trains, evaluates, exports and reports; continues an unfinished run of this experiment in `directory`.

    Args:
      directory: The run's folder; created if it is missing.
      on_round: Called with each round's record.
      on_start: Called when everything is built, before the first round.
      stop_requested: Called after each round; if it returns True, the run stops, and the next call continues it.
      keep_secrets: Whether to leave checkpoints, journal and clients' states in the folder after a run with a privacy
        guarantee has ended.
      show_training_data: Whether to put training images and the class mix into the report of a run with a privacy
        guarantee. The guarantee does not cover them.

    Raises:
      ValueError: `directory` holds a run of another experiment, or the parts do not fit together.
    """
    path = pathlib.Path(directory)
    launch = configs.LaunchConfig(run_dir=str(path), resume=run_directory.RunDirectory(path).config.exists(),
                                  keep_secrets=keep_secrets, show_training_data=show_training_data)
    return running.run(self, launch, running.Watcher(on_start=on_start, on_round=on_round,
                                                     stop_requested=stop_requested))

  def iterate(self, directory: str | os.PathLike[str], *, keep_secrets: bool = False,
              show_training_data: bool = False) -> Iterator[loop.RoundRecord]:
    """Yields the record of each round, and trains the next round when the caller asks for it.

    Leaving the loop stops the run after the round in progress; the next call of `iterate` or `run` continues it.

    Args: As for `run`.
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
        stop_requested: Callable[[], bool] = lambda: False, fewer_clients: bool = False) -> result.RunResult:
  """Runs the experiment that a config describes, as the command line does; see `Experiment.run`.

  Args:
    launch: `run_dir` must be set; an unfinished run continues only with `resume`.
    fewer_clients: Whether `cohort_size` becomes the number of clients if there are fewer.

  Raises:
    ValueError: The config cannot be run, or the folder does not belong to this run; in both cases nothing was written.
  """
  made = from_config(config, runtime=runtime, budget=budget)
  return running.run(made, launch, running.Watcher(on_start=on_start, on_round=on_round, stop_requested=stop_requested),
                     fewer_clients=fewer_clients)


def open_run(run_dir: str | os.PathLike[str], *, data_dir: str | None = None) -> result.RunResult:
  """Returns the finished run in a folder, whose experiment is described by names alone.

  Args:
    data_dir: The present location of the run's data, if they were moved.

  Raises:
    ValueError: The folder holds no run, or the run is not finished, or it contains objects of the program that made it.
  """
  directory = run_directory.RunDirectory(pathlib.Path(run_dir))
  made = from_config(directory.config_at(data_dir))
  report = directory.read_report()
  return result.RunResult(directory=directory, report=report, rounds=report['rounds'], experiment=made)
