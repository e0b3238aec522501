"""Membership attacks on a finished run: over all its examples and over each client's, beside what its ledger says."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, seeds, tasks
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.audit import likelihood_ratio, membership, promise, shadow_models
from tff_vision.data import images
from tff_vision.learning import evaluation

Found = Mapping[str, Any]


def by_loss(task: tasks.Task, evaluator: evaluation.Evaluator, ledger: ledger_lib.Statement, *,
            max_clients: int) -> Found:
  """Returns loss-threshold attacks; members are training examples.

  Args:
    evaluator: Evaluator of the run's model.
    ledger: Ledger of the finished run.
    max_clients: Largest number of clients for which the results hold a separate attack.

  Returns:
    `all` and `per_client`, with the fields of `membership.Attack`.
  """
  clients = task.images.train

  def losses(examples):
    return membership.example_losses(evaluator.logits(examples.x), task.loss_fn, examples.y)

  return _attacks(task.images, [losses(clients.examples(client)) for client in range(len(clients))],
                  losses(task.images.test.examples), ledger, max_clients)


def by_likelihood_ratio(task: tasks.Task, config: configs.ExperimentConfig, evaluator: evaluation.Evaluator,
                        ledger: ledger_lib.Statement, *, rounds: int, models: int, max_clients: int,
                        on_first: Callable[[int, int, int, float], None]) -> Found | None:
  """Returns likelihood-ratio attacks on the same examples, or the reason why there are none; None for zero models.

  Args:
    rounds: Number of rounds of the run.
    models: Number of shadow models to train.
    on_first: Called when the first model is trained, with the number of models, their passes, the number of examples
      of each, and the seconds that the first one took.
  """
  if not models:
    return None
  clients, begun = task.images.train, time.monotonic()
  parts = [*(clients.examples(client) for client in range(len(clients))), task.images.test.examples]
  pool = images.Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in 'xy'))
  inside = likelihood_ratio.halves(models, len(pool), seed=seeds.derive(config.program.seed, 'halves'))
  passes, shadow = shadow_models.passes(config, rounds=rounds, population=len(clients)), []
  for logits in shadow_models.logits(task, pool, inside, passes=passes):
    shadow.append(likelihood_ratio.confidences(logits, pool.y))
    if len(shadow) == 1:
      on_first(len(inside), passes, len(pool) // 2, time.monotonic() - begun)
  effort = {'shadow_models': len(inside), 'passes': passes, 'seconds': time.monotonic() - begun}
  if not np.isfinite(shadow).all():
    return {**effort, 'skipped': 'a shadow model diverged: pooled training does not bear this learning rate.'}
  seen = likelihood_ratio.confidences(evaluator.logits(pool.x), pool.y)
  ratios = likelihood_ratio.log_ratios(seen, np.array(shadow), inside)
  *members, others = np.split(-ratios, np.cumsum([len(part) for part in parts])[:-1])
  return {**_attacks(task.images, members, others, ledger, max_clients), **effort}


def made(found: Mapping[str, Found | None]) -> Iterator[tuple[str, Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
  """Yields, for each attack in the results: (name, its numbers over all examples, its numbers for each client)."""
  for name, key in (('loss', 'membership'), ('LiRA', 'likelihood_ratio')):
    if 'all' in (found[key] or {}):
      yield name, found[key]['all'], found[key]['per_client']


def bounds(found: Mapping[str, Found | None], ledger: ledger_lib.Statement) -> Sequence[tuple[str, float, float]]:
  """Returns (attack, its lower bound on epsilon, theoretical epsilon at its delta) where there is a theory."""
  canaries = found['canaries']
  known = [('canaries', canaries['epsilon_low'], canaries['epsilon_theory'])] if canaries else []
  if isinstance(ledger, ledger_lib.Ledger):
    known += [(f'membership by {name}', everyone['epsilon_low'], promise.to_examples(ledger)[0])
              for name, everyone, _ in made(found)]
  return known


def _attacks(federated, members, others, ledger, max_clients):
  """Returns threshold attacks on all examples and on the examples of each client.

  Args:
    members: Scores of each client's training examples; low scores indicate a member.
    others: Scores of the test examples.
  """
  delta, per_client = promise.to_examples(ledger)[1], []
  for client, own in enumerate(members):
    unseen = others[federated.test.clients[client]]
    if len(per_client) < max_clients and min(len(own), len(unseen)) > 1:
      per_client.append({'client': federated.train.client_ids[client],
                         **dataclasses.asdict(membership.attack(own, unseen, delta=delta))})
  return {'all': dataclasses.asdict(membership.attack(np.concatenate(members), others, delta=delta)),
          'per_client': per_client}
