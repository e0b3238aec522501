"""The privacy cost of a run, with every condition of the number; a missing condition raises a TypeError.

Plans return a ledger, reports contain it as JSON, and pages, model cards and audits read it. Nothing here imports
numerical libraries.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tff_vision import wording
from tff_vision.accounting import ledger_parts
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Unit
from tff_vision.accounting.ledger_parts import ClientCost, NoiseShares, PerExample, Profile

_BEST_OF = ', best of a random number of runs of mean '
_NONE = 'none'


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoGuarantee:
  """Replaces the ledger of a run without a privacy guarantee."""
  mechanism: ClassVar[str] = _NONE
  epsilon: ClassVar[float] = math.inf
  conditions: ClassVar[Mapping[str, float | int | str]] = types.MappingProxyType({})
  per_client: ClassVar[tuple[ClientCost, ...]] = ()
  warnings: ClassVar[tuple[str, ...]] = ()

  def to_json(self, *, clients: bool = True, curve: bool = True) -> dict[str, Any]:
    """Returns JSON types, from which `of_report` makes an equal object; the arguments have no effect."""
    del clients, curve
    return {'mechanism': _NONE}

  def sentence(self) -> str:
    """Returns the sentence that there is no guarantee."""
    return 'no guarantee (privacy=none)'

  __str__ = sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ledger:
  """The privacy guarantee of a run, and its cost. A run without a guarantee has no ledger, see `NoGuarantee`.

  Attributes:
    mechanism: Name of the mechanism.
    epsilon: The epsilon of (epsilon, delta)-differential privacy; infinite without noise.
    delta: The delta of (epsilon, delta)-differential privacy.
    unit: The privacy unit (what one record is).
    relation: The neighbouring relation between two data sets.
    sampling: How records are chosen, as far as epsilon depends on it.
    rounds: The number of rounds that epsilon covers.
    accountant: The method that computed epsilon.
    against_server: Whether the guarantee also holds against a party that reads the updates before they are summed.
    best_of_random_runs: The mean number of runs of which only the best is shown; None: every run is shown.
    epsilon_rdp: Epsilon by Renyi accounting; never below `epsilon`, except for rounding.
    noise_multiplier: Standard deviation of the noise over the clip norm.
    clip_norm: L2 bound on one record.
    replayed_rounds: The number of additional releases of repeated rounds; each is charged.
    max_participations: The most rounds in which one client took part, if the cost depends on it.
    noise_buffers: For correlated noise: the number of model-sized buffers on the server.
    rounding_adds_to_sensitivity: The sensitivity that a secure sum's integers add, as a fraction of the clip norm.
    metrics_noise_multiplier: The noise multiplier of metrics that are released with their own noise.
    evaluation_noise_multiplier: The same of evaluations on held-out examples, where epsilon covers them too.
    shares: Further conditions if clients add the noise.
    examples: Further conditions if the unit is an example.
    profile: The guarantee at every delta; None if it is not computed, or epsilon is infinite.

  Raises, on construction:
    TypeError: A condition is missing, or is not a number where a number is required.
    ValueError: A condition has an impossible value.
  """
  mechanism: str
  epsilon: float
  delta: float
  unit: Unit
  relation: Relation
  sampling: Sampling
  rounds: int
  accountant: Accountant
  against_server: bool = False
  best_of_random_runs: float | None = None
  epsilon_rdp: float | None = None
  noise_multiplier: float | None = None
  clip_norm: float | None = None
  replayed_rounds: int | None = None
  max_participations: int | None = None
  noise_buffers: int | None = None
  rounding_adds_to_sensitivity: float | None = None
  metrics_noise_multiplier: float | None = None
  evaluation_noise_multiplier: float | None = None
  shares: NoiseShares | None = None
  examples: PerExample | None = None
  profile: Profile | None = dataclasses.field(default=None, repr=False)

  def __post_init__(self):
    for name, (kind, from_text) in _OF_TEXT.items():
      found: Any = getattr(self, name)
      if not isinstance(found, (kind, str)):
        raise TypeError(f'{name} must be a {kind.__name__}, found {found!r}.')
      object.__setattr__(self, name, found if isinstance(found, kind) else from_text(found))
    if self.mechanism in ('', _NONE):
      raise ValueError('a ledger needs a mechanism: without one there is no guarantee.')
    ledger_parts.check_numbers(self)
    if self.delta >= 1:
      raise ValueError(f'delta must be below 1, found {self.delta!r}.')

  @property
  def conditions(self) -> Mapping[str, float | int | str]:
    """All conditions on which the meaning of epsilon depends, by name, as written in reports."""
    best = '' if self.best_of_random_runs is None else f'{_BEST_OF}{_exact(self.best_of_random_runs)}'
    return {'delta': self.delta, 'unit': str(self.unit),
            'relation': self.relation.describe(self.unit, against_server=self.against_server),
            'sampling': str(self.sampling), 'rounds': self.rounds, 'accountant': f'{self.accountant}{best}'}

  @property
  def per_client(self) -> tuple[ClientCost, ...]:
    """The cost of each client's training to its examples; empty if the guarantee is the same for all clients."""
    return () if self.examples is None else self.examples.per_client

  @property
  def warnings(self) -> tuple[str, ...]:
    """Warnings about the guarantee, in addition to its numbers."""
    return () if self.profile is None or self.profile.warning is None else (self.profile.warning,)

  def sentence(self, epsilon: str | None = None) -> str:
    """Returns epsilon with all of its conditions, in words; the argument, if given, replaces the number."""
    said = self.conditions
    return (f'epsilon {wording.at_most(self.epsilon) if epsilon is None else epsilon} '
            f'at delta {wording.at_most(self.delta, ".3g")}; '
            f'unit: {said["unit"]}; relation: {said["relation"]}; sampling: {said["sampling"]}; '
            f'{wording.counted(self.rounds, "round")}; accountant: {said["accountant"]}')

  def __str__(self):
    return f'{self.mechanism}: {self.sentence()}'

  def to_json(self, *, clients: bool = True, curve: bool = True) -> dict[str, Any]:
    """Returns JSON types, from which `from_json` makes an equal ledger.

    Args:
      clients: Whether to include the cost of each client's training.
      curve: Whether to include the profile, or the statement that there is none.
    """
    further = {name: value for name in _FURTHER if (value := getattr(self, name)) is not None}
    found = {'mechanism': self.mechanism, 'epsilon': self.epsilon, **self.conditions, **further}
    if self.shares is not None:
      found |= self.shares.to_json()
    if self.examples is not None:
      found |= self.examples.to_json(clients=clients)
    if curve:
      found['profile'] = None if self.profile is None else self.profile.to_json()
    return found

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Ledger':
    """Returns the ledger that `to_json` wrote; infinite numbers may be the string 'inf'.

    Raises:
      ValueError: A condition is missing or unknown; the message names it.
    """
    found = _with_infinity(content)
    if missing := [name for name in _CONDITIONS if found.get(name) is None]:
      raise ValueError(f'a ledger lacks {", ".join(missing)}, without which its epsilon says nothing.')
    shares = ledger_parts.taken(NoiseShares, found) if ledger_parts.names(NoiseShares) & found.keys() else None
    examples, curve = PerExample.taken(found), found.pop('profile', None)
    try:
      unit = Unit(found.pop('unit'))
      relation, against_server = Relation.from_text(found.pop('relation'), unit)
      accountant, _, mean = found.pop('accountant').partition(_BEST_OF)
      sampling = Sampling.from_text(found.pop('sampling'))
      if unknown := found.keys() - {'mechanism', 'epsilon', 'delta', 'rounds', *_FURTHER}:
        raise ValueError(f'{", ".join(sorted(unknown))} is no condition that this version knows.')
      return cls(**found, unit=unit, relation=relation, against_server=against_server, sampling=sampling,
                 accountant=Accountant(accountant), best_of_random_runs=float(mean) if mean else None,
                 shares=shares, examples=examples, profile=None if curve is None else Profile.from_json(curve))
    except (AttributeError, TypeError, ValueError) as error:
      raise ValueError(f'no ledger of this version: {error}') from None


Statement = Ledger | NoGuarantee
_OF_TEXT: Mapping[str, tuple[type, Callable[[Any], object]]] = {
    'mechanism': (str, str), 'unit': (Unit, Unit), 'relation': (Relation, Relation),
    'sampling': (Sampling, Sampling.from_text), 'accountant': (Accountant, Accountant)}
_CONDITIONS = ('mechanism', 'epsilon', 'delta', 'unit', 'relation', 'sampling', 'rounds', 'accountant')
_FURTHER = ('epsilon_rdp', 'noise_multiplier', 'clip_norm', 'replayed_rounds', 'max_participations', 'noise_buffers',
            'rounding_adds_to_sensitivity', 'metrics_noise_multiplier', 'evaluation_noise_multiplier')


def of_report(report: Mapping[str, Any]) -> Statement:
  """Returns the privacy statement in a run's report.json or in one round's record.

  Raises:
    ValueError: The report has an epsilon without its conditions.
  """
  content = report.get('privacy')
  if not content or content.get('mechanism') == _NONE:
    return NoGuarantee()
  return Ledger.from_json(content)


def _with_infinity(value):
  """Returns a copy of JSON types in which the text for infinity is replaced by the number."""
  if isinstance(value, Mapping):
    return {name: _with_infinity(one) for name, one in value.items()}
  if isinstance(value, list):
    return [_with_infinity(one) for one in value]
  return math.inf if value == 'inf' else value


def _exact(number):
  """Returns the shortest text from which the number can be read back exactly."""
  return short if float(short := f'{number:g}') == number else repr(number)
