"""Answers a `Budget`: the missing one of noise, rounds and epsilon, by two accountants, for both units."""

import dataclasses
import math

from tff_vision.accounting import accounting, calibration, cohort_sizes, profiles
from tff_vision.accounting.conditions import Relation, Unit
from tff_vision.accounting.ledger_parts import Profile
from tff_vision.privacy import mechanism_comparison
from tff_vision.privacy.budget_question import Budget

NOISE_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)
COHORT_FACTORS = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """A full description of a run and its privacy cost.

  Attributes:
    releases: The run, with all values filled in.
    delta: The delta of both epsilons.
    unit: The privacy unit (what one record is).
    epsilon_rdp: Epsilon by Renyi differential privacy.
    epsilon_pld: Epsilon by privacy loss distributions; None if none is known, or none reaches such a small delta.
    epsilon_by_unit: For `client` and `example`, the epsilon at the same delta for any change of one of them; None
      if there is no useful guarantee.
    alternatives: For random allocation: the noise multipliers that give the same epsilon with Poisson sampling
      (`poisson`), and if a record's round is known (`plain`).
    profile: The guarantee at every delta, see `profiles.section`; None if epsilon is infinite.
  """
  releases: accounting.SampledGaussian
  delta: float
  unit: Unit
  epsilon_rdp: float
  epsilon_pld: float | None
  epsilon_by_unit: dict[str, float | None]
  alternatives: dict[str, float] = dataclasses.field(default_factory=dict)
  profile: Profile | None = None

  def to_dict(self) -> dict[str, object]:
    """Returns the answer as JSON types."""
    run = self.releases
    return {'epsilon_rdp': self.epsilon_rdp, 'epsilon_pld': self.epsilon_pld,
            'noise_multiplier': run.noise_multiplier, 'rounds': run.rounds, 'delta': self.delta, 'unit': self.unit,
            'relation': run.relation, 'sampling': run.sampling, 'profile': self.profile and self.profile.to_json(),
            **({'noise_multiplier_otherwise': self.alternatives} if self.alternatives else {})}


def answer(budget: Budget) -> Answer:
  """Returns the answer to the question `budget`.

  Raises:
    ValueError: No noise, or not even one round, meets the budget.
  """
  delta = budget.effective_delta
  releases = accounting.SampledGaussian(
      rounds=budget.rounds or 1, cohort_size=budget.cohort_size, population=budget.population,
      noise_multiplier=budget.noise_multiplier or 1.0, sampling=budget.sampling, sizes=sizes_of(budget))
  if budget.noise_multiplier is None:
    noise = calibration.noise_multiplier(releases, budget.target_epsilon, delta)
    releases = dataclasses.replace(releases, noise_multiplier=noise)
  elif budget.rounds is None:
    releases = dataclasses.replace(releases, rounds=calibration.rounds(releases, budget.target_epsilon, delta))
  epsilon_rdp = accounting.epsilon_rdp(releases.event(), delta, releases.relation)
  epsilon_pld = accounting.epsilon_pld(releases.event(), delta, releases.relation)
  if epsilon_pld is not None and not math.isfinite(epsilon_pld):
    epsilon_pld = None
  own = min(epsilon for epsilon in (epsilon_rdp, epsilon_pld) if epsilon is not None)
  unit = Unit(budget.unit)
  if unit is Unit.CLIENT:
    by_unit = {'client': own, 'example': accounting.replacement_epsilon(releases, delta)}
  else:
    by_unit = {'client': None, 'example': own}
  return Answer(releases=releases, delta=delta, unit=unit, epsilon_rdp=epsilon_rdp, epsilon_pld=epsilon_pld,
                epsilon_by_unit=by_unit, alternatives=_alternatives(releases, own, delta),
                profile=profiles.section(_promise(releases), delta, unit=unit))


def _promise(releases):
  if releases.sampling == 'shuffled' and releases.noise_multiplier:
    mu = math.sqrt(releases.event().count) / releases.noise_multiplier
    return profiles.Promise(mu=mu, population=releases.population)
  return profiles.Promise(events=(releases.event(),), relation=releases.relation, population=releases.population,
                          replaces=releases.relation is Relation.REPLACE_ONE)


def _alternatives(releases, epsilon, delta):
  if releases.sampling != 'balls_in_bins' or not math.isfinite(epsilon):
    return {}
  poisson = dataclasses.replace(releases, sampling='poisson')
  return {'poisson': calibration.noise_multiplier(poisson, epsilon, delta, fine=False),
          'plain': mechanism_comparison.without_amplification(releases, epsilon, delta)}


def sizes_of(budget: Budget) -> cohort_sizes.Sizes:
  """Returns the cohort sizes that the sampler allows.

  Raises:
    ValueError: A secure sum could almost never be used with such cohorts.
  """
  if budget.secure_clients_max is None:
    return cohort_sizes.Sizes()
  sizes = cohort_sizes.Sizes(least=2, most=budget.secure_clients_max)
  cohort_sizes.check(sizes, expected=budget.cohort_size, records=budget.population, sampling=budget.sampling)
  return sizes


def table(found: Answer) -> list[tuple[float, int, float]]:
  """Returns (noise multiplier, cohort size, epsilon) around the answer; epsilon by Renyi accounting, for speed."""
  run, cells = found.releases, []
  for noise_factor in NOISE_FACTORS:
    for cohort_factor in COHORT_FACTORS:
      cohort = min(max(1, round(cohort_factor * run.cohort_size)), run.population)
      cell = dataclasses.replace(run, noise_multiplier=noise_factor * run.noise_multiplier, cohort_size=cohort)
      epsilon = accounting.epsilon_rdp(cell.event(), found.delta, cell.relation, accounting.QUICK_ORDERS)
      cells.append((cell.noise_multiplier, cohort, epsilon))
  return cells
