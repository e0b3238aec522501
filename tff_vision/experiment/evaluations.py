"""A run's evaluations on examples that its clients have: which ones there are, how they are hidden, what they cost."""

import dataclasses
import functools
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, labels, objectives, protocols, tasks
from tff_vision.accounting import gdp
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.aggregation import hidden_totals
from tff_vision.configs import runtime_config
from tff_vision.learning import federated_evaluation, right_answers, tallies
from tff_vision.privacy import plan as plan_lib
from tff_vision.privacy.mechanisms import evaluation_cost, noised_metrics

_AT_ONCE = 200  # Clients whose examples are sent at a time.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluations:
  """Evaluations of a model on clients' own held-out examples, added up over the clients.

  Attributes:
    validation: On the validation examples; None: nothing is chosen by them.
    test: On the test examples, where this machine has none; None otherwise.
    measures: The metrics that the sums give.
    cost: Of the noise on each evaluation, over its sensitivity to one `unit`; None: they are exact.
    unit: Whom the noise protects: an example, or a client with all of its examples.
    relation: How two neighbouring data sets differ.
  """
  validation: federated_evaluation.FederatedEvaluation | None = None
  test: federated_evaluation.FederatedEvaluation | None = None
  measures: Sequence[str] = ()
  cost: evaluation_cost.EvaluationCost | None = None
  unit: Unit = Unit.EXAMPLE
  relation: Relation = Relation.ADD_OR_REMOVE_ONE

  def ledger(self, rounds: int, past: plan_lib.Past, delta: float) -> ledger_lib.Statement:
    """Returns what the evaluations of `rounds` rounds, and of those of `past` again, cost a held-out example or client.

    Held-out examples are not trained on, so nothing is added to the cost of a training example. A client has both, and
    the ledger of the run includes this cost.
    """
    if self.cost is None:
      return ledger_lib.NoGuarantee()
    epsilon = gdp.epsilon(self.cost.mu(rounds, past), delta)
    return ledger_lib.Ledger(
        mechanism='noised evaluation', epsilon=epsilon, delta=delta, unit=self.unit,
        relation=self.relation, sampling=Sampling(Scheme.NONE_CLAIMED),
        rounds=self.cost.times(rounds, past), accountant=Accountant.GAUSSIAN,
        noise_multiplier=self.cost.noise_multiplier)


def of(config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
       runtime: runtime_config.RuntimeConfig, place: protocols.Place, secret: bytes) -> Evaluations:
  """Returns the evaluations of a run on examples that the driver does not have, or by which it chooses.

  Their sums are hidden as the sums of updates are. Under differential privacy they have noise of their own, or there
  are none.

  Args:
    secret: The run's secret.

  Raises:
    ValueError: select_best has no validation examples, or the secure sum has no room for the counts.
  """
  distant, choosing = not task.images.train.here, config.program.select_best is not None
  noise = config.privacy.evaluation_noise_multiplier
  if not (distant or choosing) or noise is None and not plan.releases_exact_metrics:
    return Evaluations()
  on_workers, spec = runtime.data_placement == 'worker', task.images.spec
  if spec.labels.is_spatial or spec.labels is labels.Kind.BOXES:
    raise ValueError(f'select_best={config.program.select_best} does not go with labels that are masks or boxes: '
                     'clients count right answers, scores and losses of images.')
  validation = task.images.validation
  if not on_workers and validation is None:
    raise ValueError(f'select_best={config.program.select_best} needs validation examples, and dataset='
                     f'{task.images.name} has none: give client_validation_fraction.')
  if validation is not None and list(validation.client_ids) != list(task.images.train.client_ids):
    raise ValueError(f'select_best={config.program.select_best}: the validation examples of dataset='
                     f'{task.images.name} are those of other clients than it trains on.')
  of_clients, most = not config.privacy.of_examples, _most_examples(config)
  tally = tally_of(config, task.objective)
  secure, rounds = config.secure, config.program.rounds
  at_once = _AT_ONCE if secure.secure_sum == 'none' else secure.secure_clients_max
  sums = (rounds // config.program.rounds_per_evaluation + 3) * -(-len(task.images.train) // at_once)

  def totals(counting, lengths, hidden=True):
    if not hidden:
      return hidden_totals.in_the_clear(counting)
    groups = tuple(zip(lengths, (tallies.MOST_EXAMPLES, tallies.LARGEST_SUM), strict=True))
    return hidden_totals.hidden(counting, groups, secure, place=place, sums=sums)

  def made(split):
    held: federated_evaluation.Held
    if on_workers or validation is None:
      held = federated_evaluation.FilesOnWorkers(folder=runtime.worker_data_dir, split=split, spec=spec)
    else:
      held = federated_evaluation.SentExamples(clients=validation, spec=spec)
    told = None if noise is None else functools.partial(_noised, noised_metrics.NoisedMetrics(
        noise_multiplier=noise, secret=hmac.digest(secret, f'evaluation {split}'.encode(), 'sha256'), most=most or 1))
    return federated_evaluation.FederatedEvaluation(task=task, tally=tally, held=held, place=place, totals=totals,
                                                    at_once=at_once, noised=told)

  return Evaluations(validation=made('validation'), test=made('test') if distant else None, measures=tally.measures,
                     # A client has examples of both kinds, and no example is of both.
                     cost=_cost(config, distant=distant and of_clients),
                     unit=Unit.CLIENT if of_clients else Unit.EXAMPLE,
                     # As in the ledger of training: in a fixed order, all clients are known.
                     relation=Relation.ZERO_OUT_ONE if of_clients and not plan.hides_attendance else
                     Relation.ADD_OR_REMOVE_ONE)


def tally_of(config: configs.ExperimentConfig, objective: objectives.Objective
             ) -> tallies.Tally:
  """Returns what clients count on their held-out examples; right answers alone, where they are told with noise."""
  if config.privacy.evaluation_noise_multiplier is None:
    return tallies.of(objective)
  return right_answers.of(objective, _most_examples(config))


def _most_examples(config):
  """Returns the most examples that a client counts as, where noise protects clients."""
  return None if config.privacy.of_examples else config.privacy.evaluation_most_examples


def costing(config: configs.ExperimentConfig, plan: plan_lib.PrivacyPlan, *, distant: bool) -> plan_lib.PrivacyPlan:
  """Returns the plan whose ledger includes noised evaluations, where there are any and the plan is of clients.

  Args:
    distant: Whether the clients have the test examples.
  """
  cost = _cost(config, distant=distant)
  if cost is None or not (distant or config.program.select_best is not None):
    return plan
  return plan.for_evaluations(noise_multiplier=cost.noise_multiplier, every=cost.every, once=cost.once)


def _cost(config, *, distant):
  """Returns the cost of noised evaluations; with `distant`, the test counts for those whom the others count for."""
  noise = config.privacy.evaluation_noise_multiplier
  return None if noise is None else evaluation_cost.EvaluationCost(
      noise_multiplier=noise, every=config.program.rounds_per_evaluation, once=int(distant))


def _noised(metrics: noised_metrics.NoisedMetrics, found: Mapping[str, np.ndarray], round_num: int) -> dict[str, Any]:
  """Returns the noised number of examples and accuracy; one example, or client, is one record of the mechanism."""
  told = metrics.release({'clients': found['examples'], 'accuracy_steps': found['right']}, round_num)
  return {'examples': told['cohort_size'], 'evaluation': {'accuracy': told['accuracy']}}
