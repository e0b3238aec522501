"""The audit of a run by the canaries in it: what they show at its end, beside what its ledger says."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import configs, tasks, wording
from tff_vision.accounting import cohort_sizes
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.audit import canary_data, float_lattice, guesses, launch_audit, observed, observers
from tff_vision.data import images
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import canaries as canaries_lib
from tff_vision.privacy import plan as plan_lib
from tff_vision.privacy.noise import integer_grid


class RunAudit:
  """Observes a run, and reports its findings at the end.

  Attributes:
    among: The canaries of the run.
  """

  def __init__(self, config: configs.ExperimentConfig, plan: plan_lib.PrivacyPlan, among: canaries_lib.Canaries,
               clients: images.ClientImages, path: pathlib.Path):
    """Args: `clients` are all clients except canaries; `path` is the secret file that keeps the releases."""
    self._config = config
    self._plan = plan
    self.among = among
    self._clients = clients
    self._log = observed.Observed(path)
    self._shapes: Sequence[tuple[int, ...]] = ()

  def joined(self, task: tasks.Task) -> tasks.Task:
    """Returns the task to train on, with the canaries among its clients."""
    clients = canary_data.with_canaries(self._config.privacy, task.images.train, self.among)
    return dataclasses.replace(task, images=dataclasses.replace(task.images, train=clients))

  def released(self, round_num: int, before: Any, output: Any, after: Any, cohort: Sequence[int]) -> None:
    """Records a round's model; called before anything else about the round is published.

    Args:
      before: The weights at the start of the round, `tff.learning.models.ModelWeights`.
      output: The output of the learning process.
      after: The weights at the end of the round.
      cohort: The clients whose updates are in the model, including canaries.
    """
    before, after = ([np.asarray(part) for part in weights.trainable] for weights in (before, after))
    change, unit = _flat(before) - _flat(after), self._unit(len(cohort))
    shift = canaries_lib.projections(change, self.among.number)
    self._log.add(observed.Release(
        round_num=round_num, shift=shift / unit if unit else shift, scaled=unit is not None, clients=len(cohort),
        contradictions=self._contradictions(before, after, unit, _measured(output.metrics, 'aggregator', 'total'),
                                            cohort),
        told=self._told(_measured(output.metrics, 'client_work', 'train', 'num_examples'), cohort)))

  def heard(self, clients: Sequence[int], answer: Any) -> None:
    """Records a worker's answer about some clients; searches the answer for values with the shapes of the weights."""
    shapes, leaves = self._shapes, _leaves(answer)
    for start in range(len(leaves) - len(shapes) + 1):
      part = leaves[start:start + len(shapes)]
      if [np.shape(leaf) for leaf in part] == list(shapes):
        self._log.add(observed.Release(
            round_num=0, shift=canaries_lib.projections(_flat(part), self.among.number), scaled=False,
            clients=len(clients), members=tuple(map(int, clients))))
        return

  def listen(self, place: Any, weights: Any) -> None:
    """Records the answers of workers, if clients add noise themselves and every answer is a release.

    Args:
      place: The open runtime.
      weights: The model's, `tff.learning.models.ModelWeights`.
    """
    if self._plan.clients_draw_noise and self._config.secure.secure_sum == 'none' and hasattr(place, 'hear'):
      self._shapes = [np.shape(part) for part in weights.trainable]
      place.hear(self.heard)

  def report_into(self, content: dict[str, Any], plan: plan_lib.PrivacyPlan,
                  check_launch: Callable[[plan_lib.PrivacyPlan], None]) -> None:
    """Adds the canaries' result to the content of a report, and a warning if the result exceeds the guarantee.

    Args: see `finding`.
    """
    content['one_run_audit'] = found = self.finding(plan, ledger_lib.of_report(content), check_launch)
    if found['broken']:
      content['warnings'] = [*content['warnings'], found['sentence']]

  def finding(self, plan: plan_lib.PrivacyPlan, ledger: ledger_lib.Ledger,
              check_launch: Callable[[plan_lib.PrivacyPlan], None]) -> Mapping[str, Any]:
    """Returns the canaries' result, for report.json.

    Args:
      plan: The run's plan, charged with everything that happened.
      ledger: The ledger of the finished run.
      check_launch: Raises ValueError if a launch would be refused.
    """
    setting, releases = self._setting(), self._log.releases()
    included = np.array(self.among.included)
    tries = len(guesses.LEVELS) * (len(observers.OBSERVERS) + 1)  # Launches are one more observer.
    error = (1 - self._config.privacy.audit_confidence) / tries
    delta = guesses.small_delta(ledger.delta, max(self.among.number, launch_audit.LAUNCHES), error)
    stated = ledger.epsilon
    if delta < ledger.delta:
      stated = dataclasses.replace(plan, delta=delta).ledger(ledger.rounds).epsilon
    games = {name: (scores, included) for name, observe in observers.OBSERVERS.items()
             if (scores := observe(setting, releases)) is not None}
    if (launched := launch_audit.play(plan, self.among.first, self.among.number, check_launch)) is not None:
      games['launches'] = launched
    found = {name: guesses.best(*game, delta=delta, error=error) for name, game in games.items()}
    most = max(found, key=lambda name: found[name].epsilon_low) if found else None
    low = found[most].epsilon_low if most else 0.0
    told = {'canaries': self.among.number, 'unit': str(ledger.unit),
            'confidence': self._config.privacy.audit_confidence,
            'epsilon_low': low, 'epsilon': stated, 'delta': delta, 'seen_by': most if low else None,
            'ceiling': guesses.ceiling(self.among.number, delta=delta, error=error),
            'broken': low > stated,
            'observers': {name: dataclasses.asdict(one) for name, one in found.items()}}
    return {'sentence': _sentence(told), **told}

  def _unit(self, clients):
    """Returns how far a canary moves the weights in its direction; None if the server's step leaves this unknown."""
    config, server = self._config, self._config.server
    if (config.privacy.of_examples or config.privacy.privacy == 'client_adaptive'
        or server.server_optimizer != 'sgd' or not config.schedule.server_is_constant() or not clients):
      return None
    return config.privacy.clip_norm * server.server_learning_rate / getattr(self._plan, 'denominator', clients)

  def _contradictions(self, before, after, unit, total, cohort):
    if total is None or unit is None:
      return None
    total, there = _flat(total), np.zeros(self.among.number)
    there[[client - self.among.first for client in cohort if client >= self.among.first]] = 1
    found = float_lattice.released(before, after, clip_norm=self._config.privacy.clip_norm,
                                   denominator=self._plan.denominator,
                                   learning_rate=self._config.server.server_learning_rate)
    white = len(getattr(self._plan, 'coefficients', ())) < 2 and self._config.privacy.privacy != 'dp_ftrl'
    return float_lattice.contradictions(
        found, total - float_lattice.contribution(there, len(total)), self.among.number,
        sigma=self._plan.noise_multiplier * integer_grid.STEPS if white else None)

  def _told(self, examples, cohort):
    if examples is None:
      return None
    epochs, first = self._config.client.client_epochs, self.among.first
    known = sum(self._clients.num_examples(client) if client < first else 1 for client in cohort)
    return float(examples) / epochs - known

  def _setting(self):
    plan, number, first = self._plan, self.among.number, self.among.first
    numbers = np.arange(number)
    examples = self._config.privacy.of_examples
    client_of = numbers % len(self._clients) if examples else first + numbers
    cohort, rate = _schedule(plan)
    return observers.Setting(
        turns=lambda round_num: np.isin(client_of, cohort(round_num)), rate=rate,
        noise=plan.noise_multiplier, client_of=client_of, examples=examples,
        opposite=self._config.privacy.privacy == 'local_dp',
        coefficients=tuple(getattr(plan, 'coefficients', ())) or (1.0,))


def toss(privacy: configs.PrivacyConfig, clients: images.ClientImages, secret: bytes) -> canaries_lib.Canaries | None:
  """Returns the canaries of a run, or None. Args: clients: All except canaries; secret: The secret of the run."""
  if not privacy.audit_canaries:
    return None
  return canaries_lib.Canaries.tossed(privacy.audit_canaries, first=len(clients), secret=secret)


def planned(config: configs.ExperimentConfig, problem: tasks.Problem, plan: plan_lib.PrivacyPlan, secret: bytes
            ) -> plan_lib.PrivacyPlan:
  """Returns the plan of the run with its canaries; unchanged if there are none. Args: secret: The secret of the run."""
  among = toss(config.privacy, problem.images.train, secret)
  return plan if among is None else plan.audited(among)


def begin(config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan, secret: bytes,
          path: pathlib.Path, place: Any) -> RunAudit | None:
  """Returns the audit of a run, which records from now on; None without canaries.

  Args:
    plan: The plan that `planned` returned.
    secret: The secret of the run.
    path: The secret file that keeps the releases.
    place: The open runtime.
  """
  among = toss(config.privacy, task.images.train, secret)
  if among is None:
    return None
  audit = RunAudit(config, plan, among, task.images.train, path)
  audit.listen(place, task.initial_weights())
  return audit


def _sentence(found):
  """Returns the canaries' result as a sentence."""
  shown = (f'epsilon above {wording.at_least(found["epsilon_low"])} at delta {wording.at_most(found["delta"], ".2g")} '
           f'with {100 * found["confidence"]:g} % confidence')
  promised = f'the ledger says {wording.at_most(found["epsilon"])} at that delta'
  who = f'{found["canaries"]} canaries, each a {found["unit"]}' if found['unit'] == 'client' else (
      f'{found["canaries"]} canaries, each an {found["unit"]}')
  if found['broken']:
    return (f'BROKEN: the audit by {who}, shows {shown}, and {promised}; seen by the observer «{found["seen_by"]}». '
            'Trust no number of this run.')
  return (f'audit: {who}, show {shown}, and {promised}; so many canaries show at most {found["ceiling"]:.3f}, and what '
          'they do not show may be there all the same.')


def _schedule(plan):
  """Returns the public facts about cohorts: who may take part in a round, if in the data, and with what probability."""
  sampler = plan.sampler
  if not plan.hides_attendance:
    # Canaries that are absent from the data keep their turns here.
    return (dataclasses.replace(sampler, absent=frozenset()) if hasattr(sampler, 'absent') else plan.cohort), 1.0
  if isinstance(sampler, cohort_sampling.BlockPoissonCohort):
    block = dataclasses.replace(sampler, rate=1 / sampler.num_blocks, sizes=cohort_sizes.Sizes(), absent=frozenset())
    return block, sampler.block_rate
  return (lambda round_num: np.arange(sampler.population)), sampler.rate


def _flat(parts):
  return np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])


def _measured(metrics, *place):
  """Returns the measurement at a place in what a round measured; None if the round did not measure it."""
  for name in place:
    if not isinstance(metrics, Mapping) or name not in metrics:
      return None
    metrics = metrics[name]
  return metrics


def _leaves(value):
  if isinstance(value, tff.structure.Struct):
    value = tff.structure.flatten(value)
  elif isinstance(value, Mapping):
    value = list(value.values())
  elif not isinstance(value, (list, tuple)):
    return [value]
  return [leaf for part in value for leaf in ([part] if not isinstance(
      part, (list, tuple, Mapping, tff.structure.Struct)) else _leaves(part))]
