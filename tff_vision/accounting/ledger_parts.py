"""What stands in a ledger beside epsilon and its conditions: what single clients pay, noise in shares, the whole curve.

Nothing here imports numerical libraries.
"""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Part = TypeVar('_Part')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientCost:
  """The privacy cost of training on one client to each of its examples.

  Attributes:
    examples: The client's number of examples.
    rounds: The number of rounds in which it took part; a round that ran twice counts twice.
    epsilon_rdp: Epsilon by Renyi accounting.
    epsilon: Epsilon by privacy loss distributions; None if this was too slow to compute.
  """
  examples: int
  rounds: int
  epsilon_rdp: float
  epsilon: float | None = None

  def __post_init__(self):
    check_numbers(self)

  @property
  def smallest_epsilon(self) -> float:
    """The smallest known epsilon."""
    return self.epsilon_rdp if self.epsilon is None else self.epsilon


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clipping:
  """How per-example gradients are clipped; see `privacy.ghost.clipped.Method`."""
  ghost: bool
  layers: Mapping[str, str]
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivateSteps:
  """The differences from plain private SGD; an attribute is None if it does not differ.

  Attributes:
    noise: How noise is correlated over steps, in words.
    count_stddev: For an adaptive clip: standard deviation of the noise on the number of gradients below the clip.
    sum_noise_multiplier: For an adaptive clip: noise multiplier of the sum of gradients.
    views: The views of an example in one step: `copies`, `shift`, `mirror`; see `privacy.mechanisms.example_views`.
    average: Decay of the weight average that a client returns.
  """
  noise: str | None = None
  count_stddev: float | None = None
  sum_noise_multiplier: float | None = None
  views: Mapping[str, int | bool] | None = None
  average: float | None = None

  def __post_init__(self):
    check_numbers(self)

  def to_json(self) -> dict[str, Any]:
    """Returns JSON types."""
    return {name: value for name, value in values(self).items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerExample:
  """Further conditions if the unit is an example of one client.

  Attributes:
    per_client: The cost of each client's training, in the order of the clients.
    gradients: How gradients are clipped; None before the model is known.
    steps: The differences from plain private SGD.
  """
  per_client: tuple[ClientCost, ...]
  gradients: Clipping | None
  steps: PrivateSteps = dataclasses.field(default_factory=PrivateSteps)

  def to_json(self, *, clients: bool = True) -> dict[str, Any]:
    """Returns JSON types; `clients`: whether to include the cost of each client."""
    costs = [{name: value for name, value in values(one).items() if name != 'epsilon' or value is not None}
             for one in self.per_client]
    how = self.gradients and {**values(self.gradients), 'layers': dict(self.gradients.layers)}
    return {**({'per_client': costs} if clients else {}), 'gradients': how, **self.steps.to_json()}

  @classmethod
  def taken(cls, content: dict[str, Any]) -> 'PerExample | None':
    """Returns the object that `to_json` wrote into `content`, and removes it there; None if there is none."""
    if not {'per_client', 'gradients'} & content.keys():
      return None
    costs, gradients = content.pop('per_client', []), content.pop('gradients', None)
    return cls(per_client=tuple(taken(ClientCost, one) for one in costs), steps=taken(PrivateSteps, content),
               gradients=None if gradients is None else taken(Clipping, gradients))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseShares:
  """Further conditions if clients add shares of the noise, and a secure sum hides the single updates.

  Attributes:
    noise_sized_for_clients: The fewest clients whose shares together give the full noise.
    fewest_clients_in_a_sum: The fewest clients in any sum with the client of the highest cost; None if there is no
      such sum.
    share_stddev_steps: Standard deviation of one client's noise, in steps of the summed integers.
    clip_norm_steps: The clip norm in these steps.
    opened_from_clients: The fewest clients whose sum is opened; None in a report of an earlier version.
    failed_rounds: Rounds in which fewer clients delivered, so no sum was opened; None in a report of an earlier
      version.
  """
  noise_sized_for_clients: int
  fewest_clients_in_a_sum: int | None
  share_stddev_steps: float
  clip_norm_steps: float
  opened_from_clients: int | None = None
  failed_rounds: int | None = None

  def __post_init__(self):
    check_numbers(self)

  def to_json(self) -> dict[str, Any]:
    """Returns JSON types."""
    unsaid = {'opened_from_clients', 'failed_rounds'} if self.opened_from_clients is None else set()
    return {name: value for name, value in values(self).items() if name not in unsaid}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
  """The guarantee at every delta, and the attack success that it allows; `profiles.section` computes it.

  Attributes:
    epsilon: The epsilons of the curve's points, increasing.
    delta: The deltas of the curve's points, decreasing.
    mu: The mu of Gaussian differential privacy: the smallest whose curve plus `mu_slack` is not below this curve.
    mu_exact: Whether the mechanism is a Gaussian one, so that the slack is zero.
    mu_slack: A probability.
    true_positive_rate: Maps a false-positive rate to the true-positive rate of the best membership test for one unit.
    false_positive_rates: The false-positive rates of a figure.
    true_positive_rates: The true-positive rates of the best test at these false-positive rates.
    population: The number of protected records.
    warning: A warning about delta, or None.
    true_positive_rate_example: As `true_positive_rate`, for one example, if the unit is a client; else None.
  """
  epsilon: tuple[float, ...]
  delta: tuple[float, ...]
  mu: float
  mu_exact: bool
  mu_slack: float
  true_positive_rate: Mapping[float, float]
  false_positive_rates: tuple[float, ...]
  true_positive_rates: tuple[float, ...]
  population: int
  warning: str | None
  true_positive_rate_example: Mapping[float, float] | None = None

  def to_json(self) -> dict[str, Any]:
    """Returns the profile as JSON types."""
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in values(self).items()}
    for name in ('true_positive_rate', 'true_positive_rate_example'):
      if (rates := found.pop(name)) is not None:
        found[name] = {str(alarms): power for alarms, power in rates.items()}
    return found

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Profile':
    """Returns the profile that `to_json` wrote.

    Raises:
      ValueError: The content is not a profile that `to_json` writes.
    """
    found = {name: tuple(value) if isinstance(value, list) else
             {float(alarms): power for alarms, power in value.items()} if isinstance(value, Mapping) else value
             for name, value in content.items()}
    return taken(cls, found)


def check_numbers(made: Any) -> None:
  """Converts the numbers of a data class to plain numbers; raises TypeError if one is missing or not a number."""
  for field in dataclasses.fields(made):
    value, (kind, optional) = getattr(made, field.name), _NUMBERS.get(field.type, (None, True))
    if kind is None or value is None and optional:
      continue
    if isinstance(value, bool) or not isinstance(value, kind):
      raise TypeError(f'{field.name} must be {"a whole" if kind is numbers.Integral else "a"} number, found {value!r}.')
    value = int(value) if kind is numbers.Integral else float(value)
    if not value >= 0:
      raise ValueError(f'{field.name} must not be negative, found {value!r}.')
    object.__setattr__(made, field.name, value)


_NUMBERS = {float: (numbers.Real, False), float | None: (numbers.Real, True),
            int: (numbers.Integral, False), int | None: (numbers.Integral, True)}


def values(made: Any) -> dict[str, Any]:
  """Returns the fields of a data class by name."""
  return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


def taken(kind: Callable[..., _Part], content: dict[str, Any]) -> _Part:
  """Returns a data class built from its fields in `content`, and removes these fields from `content`.

  Raises:
    ValueError: Fields are missing or have invalid values.
  """
  given = {name: content.pop(name) for name in names(kind) if name in content}
  try:
    return kind(**given)
  except (TypeError, ValueError) as error:
    raise ValueError(f'no ledger of this version: {error}') from None


def names(kind: Any) -> set[str]:
  """Returns the names of a data class's fields."""
  return {field.name for field in dataclasses.fields(kind)}
