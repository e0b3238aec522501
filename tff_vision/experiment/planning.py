"""From an experiment's problem to the plan of its run, and from both to the task that clients train on."""

import dataclasses
import itertools
import pathlib
import secrets
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision import catalogue, configs, plugins, tasks, wording
from tff_vision.accounting import budget_file
from tff_vision.aggregation import secured
from tff_vision.audit import canary_data, run_audit
from tff_vision.data import images as images_lib
from tff_vision.data import pieces
from tff_vision.data.sources import naming
from tff_vision.experiment import definition, evaluations
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal as journal_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
  """The task, the privacy plan and the program of a run.

  Attributes:
    task: The problem as the clients see it.
    plan: Who takes part, what is clipped and noised, and the privacy cost.
    program: The program, with the number of rounds that the budget allows.
  """
  task: tasks.Task
  plan: plan_lib.PrivacyPlan
  program: configs.ProgramConfig


def check(made: definition.Definition) -> None:
  """Refuses settings that are incompatible, before anything is loaded.

  Raises:
    ValueError: With the reason.
  """
  made.config.check(made.runtime)


def plan(made: definition.Definition, problem: tasks.Problem, *, secret: bytes | None = None,
         journal: journal_lib.Journal | None = None, run_dir: pathlib.Path | None = None) -> Planned:
  """Returns the plan of a run, charged with the rounds that were already trained, the program and the task.

  Args:
    problem: The experiment's own problem, or the same with the numbers of examples that workers report.
    secret: The run's secret; None: randomly drawn cohorts and the noise on metrics differ from those of the run.
    journal: The journal of a run; None: no round was trained before.
    run_dir: The folder of a run.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  made.config.check_references()  # The parts of the problem are built, so their modules are already imported.
  found = build_plan(made.config, problem, secret=secret)
  if secret is not None:
    found = run_audit.planned(made.config, problem, found, secret)
  if journal is not None:
    found = found.charged(journal.past())
    journal.check_counts(found.example_counts)
  program = _within_budget(made.config, found)
  if run_dir is not None:
    secured.check_run(made.secure_sum, found, rounds=program.rounds, run_dir=run_dir)
  return Planned(task=problem.trained_by(found.client_data(made.client), seed=made.seed), plan=found, program=program)


def build_plan(config: configs.ExperimentConfig, problem: tasks.Problem, *, secret: bytes | None = None
               ) -> plan_lib.PrivacyPlan:
  """Returns the privacy plan of a config for its problem.

  Args:
    secret: As for `plan`.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  images = problem.images
  check_clients(images)
  check_told(config, images)
  clients = canary_data.with_canaries(config.privacy, images.train)
  sizes = clients.sizes if clients.counted else np.zeros(0, np.int64)
  found = mechanism(config, population=len(clients), sizes=sizes, secret=secret,
                    optional=len(clients) - len(images.train))
  found = evaluations.costing(config, found, distant=not images.train.here)
  model = problem.keras_model()
  found = found.for_secure_sum(config.secure).for_model(model, problem.batch_spec[0])
  return found.for_loss(problem.loss_fn, problem.batch_spec[1],
                        tf.TensorSpec(model.output_shape, model.outputs[0].dtype), separable=problem.loss_is_separable)


def mechanism(config: configs.ExperimentConfig, *, population: int, sizes: Sequence[int] | np.ndarray = (),
              secret: bytes | None = None, optional: int = 0) -> plan_lib.PrivacyPlan:
  """Returns the privacy plan of a config that knows neither secure sum, model nor loss yet.

  Args, raises: As `privacy.plan.build_plan`.
  """
  row = catalogue.chosen('algorithm', config.algorithm.algorithm)
  is_late = row is not None and catalogue.Trait.LATE in row.traits
  return plan_lib.build_plan(
      config.privacy, config.cohort, population=population, rounds=config.program.rounds, seed=config.program.seed,
      sizes=sizes, client=config.client, max_staleness=config.algorithm.max_staleness if is_late else None,
      secret=secret, optional=optional, cohort_size_bounds=secured.cohort_size_bounds(config.secure))


def check_clients(images: images_lib.FederatedImages) -> None:
  """Refuses clients of which nobody could say what is promised to one of them.

  Raises:
    ValueError: Two have one name, or their numbers of examples are none.
  """
  train = images.train
  names = pieces.Names.of(train.client_ids).array
  if len(np.unique(names)) < len(names):
    raise ValueError(f'dataset={images.name} has {len(names)} clients, of which some have one name, '
                     f'{naming.twice(names.tolist())!r}: give each client a name of its own.')
  if train.counted and train.sizes.min(initial=0) < 0:
    least = int(train.sizes.argmin())
    raise ValueError(f'client {train.client_ids[least]} of dataset={images.name} says that it has {train.sizes[least]} '
                     'examples (num_examples).')
  if train.counted and not train.sizes.any():
    raise ValueError(f'no client of dataset={images.name} has an example.')


def check_told(config: configs.ExperimentConfig, images: images_lib.FederatedImages) -> None:
  """Refuses images of which more is told than the privacy of a config covers.

  Raises:
    ValueError: With the reason.
  """
  privacy = config.privacy.privacy
  if privacy != 'none' and images.preprocessing.measured:
    raise ValueError(f'preprocess=standardize does not go with privacy={privacy} and dataset='
                     f'{images.name}: mean and deviation would be computed from the clients\' own images and '
                     'told with the model, and no noise covers them; choose per_image, raw or invert.')
  if config.privacy.of_examples and images.preprocessing.augmentation.mixup:
    raise ValueError(f'dataset={images.name} mixes examples with each other (Augmentation.mixup), which does not go '
                     f'with privacy={privacy}: the promise is to every example by itself.')
  if config.promises and getattr(config.task.task, 'needs_labels', False):  # Built-in tasks are refused by their flags.
    raise ValueError(f'objective={plugins.name_of(config.task.task)} needs constants from the clients\' own labels '
                     '(needs_labels), which the model and its files would tell, and no promise covers them.')
  if privacy != 'none' and images.range_told_by_clients:
    kind = 'floats' if images.spec.dtype.kind == 'f' else 'whole numbers'
    raise ValueError(f'dataset={images.name} has {kind} whose range only the clients\' own images tell, and the model '
                     f'would tell it, which privacy={privacy} does not cover: give test images of the same range, or '
                     'say which values are black and white with pixel_range=BLACK,WHITE.')
  if privacy != 'none' and config.data.label_case == 'merge' and images.counted_classes:
    raise ValueError(f'label_case=merge does not go with privacy={privacy}: how the names of classes are spelled '
                     'would follow from the clients\' own labels, and the model\'s files tell it; spell them alike, or '
                     'name all (class_names, where it is read).')
  if privacy != 'none' and images.deduced:
    raise ValueError(f'dataset={images.name} does not go with privacy={privacy}: only the clients\' own images tell, '
                     f'and the model would, {images.deduced[0]}.')
  if privacy != 'none' and (told := images.told_by_clients):
    raise ValueError(f'dataset={images.name} has classes that no test image shows ({", ".join(told[:12])}), so '
                     f'the model would tell that some client has them, which privacy={privacy} does not '
                     'cover: give each a test image, name all (class_names, where it is read), or leave these out.')


def fingerprint(images: images_lib.FederatedImages) -> budget_file.Data:
  """Returns the value by which a budget over several runs identifies the data."""
  # Without digests, nobody can tell whether another run used the same images.
  known = [images.fingerprint.get(part) for part in ('files', 'examples of clients')]
  if 'plan' in images.fingerprint:  # Only the sites know their examples; the plan stands for them.
    known.append(images.fingerprint['plan'])
  train = images.train  # Where counts are private, the plan stands for them too, and holds their bound.
  sizes = train.sizes.tolist() if train.counted else itertools.repeat(train.most_examples, len(train))
  return budget_file.fingerprint(images.name, images.class_names, list(zip(train.client_ids, sizes, strict=True)),
                                 examples=repr(known) if any(known) else secrets.token_hex(16))


def _within_budget(config, found):
  """Returns the program, shortened to end before the round that would exceed `stop_at_epsilon`."""
  budget = config.privacy.stop_at_epsilon
  if budget is None:
    return config.program
  rounds = found.affordable_rounds(config.program.rounds, budget)
  if not rounds:
    raise ValueError(f'stop_at_epsilon={budget:g} does not pay for one round, which costs epsilon '
                     f'{wording.at_most(found.ledger(1).epsilon, ".3g")}.')
  return dataclasses.replace(config.program, rounds=rounds)
