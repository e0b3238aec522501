"""The section `attack` of report.json: what a simulated attack was and what it achieved."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_vision import configs, tasks
from tff_vision.data import attacked
from tff_vision.learning import evaluation


def describe(config: configs.AttackConfig, task: tasks.Task, evaluator: evaluation.Evaluator) -> Mapping[str, Any]:
  """Returns the attack, the attackers, and for a backdoor its success rate.

  Args:
    evaluator: Holds the final weights.
  """
  clients = task.images.train
  chosen = attacked.attackers(config, len(clients), seed=task.seed)
  found = {'attack': config.attack, 'attackers': len(chosen), 'clients': len(clients),
           **({'attacker_ids': [clients.client_ids[client] for client in chosen]}
              if len(chosen) <= evaluation.MAX_LISTED else {})}
  if config.attack == 'backdoor_patch':
    found['target'] = task.images.class_names[config.attack_target]
    found['backdoor_success_rate'] = backdoor_success_rate(config, task, evaluator)
  return found


def backdoor_success_rate(config: configs.AttackConfig, task: tasks.Task, evaluator: evaluation.Evaluator
                          ) -> float | None:
  """Returns the share of patched test images of other classes classified as the target; None if there are none."""
  examples = attacked.backdoor_test(config, task.images.test.examples)
  if not len(examples):
    return None
  logits = evaluator.logits(examples.x)
  if examples.y.ndim == 1:
    return float(np.mean(logits.argmax(axis=1) == config.attack_target))
  return float(np.mean(logits[:, config.attack_target] > 0))
