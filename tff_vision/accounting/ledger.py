"""What a run costs, with every condition of the number: epsilon without one of them is a TypeError.

A ledger is what plans return, what reports hold as JSON, and what pages, model cards and audits read. Nothing here
imports numerical libraries.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tff_vision.accounting import ledger_parts
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Unit
from tff_vision.accounting.ledger_parts import ClientCost, NoiseShares, PerExample, Profile

_BEST_OF = ', best of a random number of runs of mean '
_NONE = 'none'


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoGuarantee:
  """Stands where a ledger would, of a run that promises nothing."""
  mechanism: ClassVar[str] = _NONE
  epsilon: ClassVar[float] = math.inf
  conditions: ClassVar[Mapping[str, float | int | str]] = types.MappingProxyType({})
  per_client: ClassVar[tuple[ClientCost, ...]] = ()
  warnings: ClassVar[tuple[str, ...]] = ()

  def to_json(self, *, clients: bool = True, curve: bool = True) -> dict[str, Any]:
    """Returns JSON types, of which `of_report` makes an equal object; there is nothing to leave out."""
    del clients, curve
    return {'mechanism': _NONE}

  def sentence(self) -> str:
    """Returns that there is no guarantee."""
    return 'no guarantee (privacy=none)'

  __str__ = sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ledger:
  """What a run promises, and at what cost. Of a run that promises nothing there is none, see `NoGuarantee`.

  Attributes:
    mechanism: Its name.
    epsilon: Of (epsilon, delta)-differential privacy; infinite without noise.
    delta: Of the same.
    unit: What one record is.
    relation: What two data sets that are hard to tell apart differ in.
    sampling: How records are chosen, as far as epsilon counts on it.
    rounds: That epsilon pays for.
    accountant: How epsilon was computed.
    against_server: Whether the promise holds also for who reads the updates before they are added up.
    best_of_random_runs: The mean number of runs of which only the best is shown; None: every run is.
    epsilon_rdp: By Renyi accounting: never below epsilon but for rounding.
    noise_multiplier: Standard deviation of the noise over the clip norm.
    clip_norm: L2 bound on one record.
    replayed_rounds: Released more often than once, and paid for each time.
    max_participations: The most rounds that one client took part in, where the cost counts on that.
    noise_buffers: Of correlated noise: how many model-sized buffers the server keeps.
    rounding_adds_to_sensitivity: What the integers of a secure sum add, as a share of the clip norm.
    metrics_noise_multiplier: Of the metrics that are released with noise of their own.
    shares: Where clients add the noise.
    examples: Where the unit is an example.
    profile: The promise at every delta; None where that is not computed, or epsilon is infinite.

  Raises, when made:
    TypeError: A condition is missing, or no number where one must be.
    ValueError: A condition cannot be.
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
    """Everything without which epsilon says nothing, by name, as reports write it."""
    best = '' if self.best_of_random_runs is None else f'{_BEST_OF}{_exact(self.best_of_random_runs)}'
    return {'delta': self.delta, 'unit': str(self.unit),
            'relation': self.relation.describe(self.unit, against_server=self.against_server),
            'sampling': str(self.sampling), 'rounds': self.rounds, 'accountant': f'{self.accountant}{best}'}

  @property
  def per_client(self) -> tuple[ClientCost, ...]:
    """What each client's training costs its examples; empty where the promise is the same to all."""
    return () if self.examples is None else self.examples.per_client

  @property
  def warnings(self) -> tuple[str, ...]:
    """What is to be said of the promise besides its numbers."""
    return () if self.profile is None or self.profile.warning is None else (self.profile.warning,)

  def sentence(self, epsilon: str | None = None) -> str:
    """Returns epsilon with all of its conditions, `epsilon` in the place of the number if it is given."""
    said = self.conditions
    return (f'epsilon {f"{self.epsilon:.3f}" if epsilon is None else epsilon} at delta {self.delta:.3g}; '
            f'unit: {said["unit"]}; relation: {said["relation"]}; sampling: {said["sampling"]}; '
            f'{self.rounds} rounds; accountant: {said["accountant"]}')

  def __str__(self):
    return f'{self.mechanism}: {self.sentence()}'

  def to_json(self, *, clients: bool = True, curve: bool = True) -> dict[str, Any]:
    """Returns JSON types, from which `from_json` makes an equal ledger.

    Args:
      clients: Whether what each client's training costs is among them.
      curve: Whether the profile is, or that there is none.
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
      ValueError: A condition is missing or unknown; names it.
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
            'rounding_adds_to_sensitivity', 'metrics_noise_multiplier')


def of_report(report: Mapping[str, Any]) -> Statement:
  """Returns what a run's report.json, or one round's record, states of its privacy.

  Raises:
    ValueError: It states an epsilon without its conditions.
  """
  content = report.get('privacy')
  if not content or content.get('mechanism') == _NONE:
    return NoGuarantee()
  return Ledger.from_json(content)


def _with_infinity(value):
  """Returns JSON types with infinity in the place of its name, in containers of their own."""
  if isinstance(value, Mapping):
    return {name: _with_infinity(one) for name, one in value.items()}
  if isinstance(value, list):
    return [_with_infinity(one) for one in value]
  return math.inf if value == 'inf' else value


def _exact(number):
  """Returns the shortest text that gives the number back."""
  return short if float(short := f'{number:g}') == number else repr(number)
