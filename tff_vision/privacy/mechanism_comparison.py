"""Compares client-level mechanisms by the noise that a budget needs.

The measure is the noise in a prefix sum of cohort sums, in units of the clip norm. This is the noise that a model
trained with plain SGD has accumulated after t rounds. Every row meets the same (epsilon, delta) for one client. Rows
differ in the noise, the memory on the server, and the sampling guarantee that the number requires.
"""

import dataclasses
import math

from tff_vision.accounting import accounting, calibration, cohort_sizes, gdp
from tff_vision.privacy.matrix import banded, blt, toeplitz, tree

BLT_BUFFERS = 3
POISSON = 'Poisson cohorts'
ALLOCATED = 'each client in one round of each pass, drawn by chance (sampling=allocation)'
BLOCKS = 'clients in as many blocks as bands, one block a round in turn, Poisson within it'
SEPARATED = 'any cohorts; a client returns after min_separation rounds at the earliest'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """The planned run: clients, expected clients per round, rounds, the budget of one client, and cohort sizes."""
  population: int
  cohort_size: int
  rounds: int
  target_epsilon: float
  delta: float
  sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()

  @property
  def participation(self) -> toeplitz.Participation:
    """The largest separation that this population allows: clients take part in turn."""
    separation = min(self.population // self.cohort_size, self.rounds)
    return toeplitz.Participation.of(self.rounds, separation)

  def poisson(self, *, blocks: int = 1) -> accounting.SampledGaussian:
    """Returns the sampled releases of one block, whose noise is calibrated; `blocks` blocks of clients take turns."""
    smallest = self.population // blocks
    return accounting.SampledGaussian(
        rounds=math.ceil(self.rounds / blocks), cohort_size=self.cohort_size, population=smallest,
        largest=math.ceil(self.population / blocks), noise_multiplier=0.0, sampling='poisson', sizes=self.sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
  """One row of the comparison.

  Attributes:
    mechanism: The value of --privacy, with its variant.
    noise_multiplier: Standard deviation of the white noise Z over the clip norm.
    rms_error: Root mean square (over the rounds) of the noise in a prefix sum, divided by the clip norm.
    max_error: The same for the prefix with the most noise.
    buffers: Model-sized arrays in the server's state.
    sampler: The condition that the cohorts must satisfy.
  """
  mechanism: str
  noise_multiplier: float
  rms_error: float
  max_error: float
  buffers: int
  sampler: str


def compare(setting: Setting) -> list[Candidate]:
  """Returns one candidate for each mechanism, sorted by rms_error."""
  found = [independent(setting), *_trees(setting), _banded(setting), _blt(setting), amplified(setting)]
  if not setting.sizes.bind(setting.population + 1):
    found.append(allocated(setting))
  return sorted(found, key=lambda candidate: candidate.rms_error)


def independent(setting: Setting) -> Candidate:
  """Returns `client_gaussian`: fresh noise each round, amplified by Poisson sampling."""
  return _independent(setting, setting.poisson(), 'client_gaussian', POISSON)


def allocated(setting: Setting) -> Candidate:
  """Returns `client_gaussian` over cohorts drawn by random allocation."""
  released = dataclasses.replace(setting.poisson(), sampling='balls_in_bins')
  return _independent(setting, released, 'client_gaussian, allocation', ALLOCATED)


def without_amplification(releases: accounting.SampledGaussian, target_epsilon: float, delta: float) -> float:
  """Returns the noise multiplier for the same rounds if each record takes part once per pass, in a known round."""
  passes = dataclasses.replace(releases, sampling='shuffled', sizes=cohort_sizes.Sizes()).event().count
  return math.sqrt(passes) / gdp.mu(target_epsilon, delta)


def savings(rows: list[Candidate], setting: Setting) -> str | None:
  """Returns one sentence on the noise that random allocation saves; None if it is not a candidate."""
  noise = {row.sampler: row.noise_multiplier for row in rows if row.mechanism.startswith('client_gaussian')}
  if ALLOCATED not in noise:
    return None
  plain = without_amplification(setting.poisson(), setting.target_epsilon, setting.delta)
  return saved(noise[ALLOCATED], poisson=noise[POISSON], plain=plain)


def saved(noise: float, *, poisson: float, plain: float) -> str:
  """Returns one sentence that compares the noise of random allocation with that of others at the same epsilon."""
  def compared(other):
    change = 100 * (noise / other - 1)
    return f'{abs(change):.1f} % {"less" if change < 0 else "more"} than'

  return (f'Random allocation takes noise {noise:.4g}: {compared(poisson)} Poisson sampling\'s {poisson:.4g}, '
          f'{compared(plain)} {plain:.4g} without amplification.')


def _independent(setting, releases, mechanism, sampler):
  noise = calibration.noise_multiplier(releases, setting.target_epsilon, setting.delta, fine=False)
  n = setting.rounds
  return Candidate(mechanism=mechanism, noise_multiplier=noise, rms_error=noise * math.sqrt((n + 1) / 2),
                   max_error=noise * math.sqrt(n), buffers=0, sampler=sampler)


def amplified(setting: Setting) -> Candidate:
  """Returns the best banded noise with block-cyclic Poisson amplification; the number of bands is a power of two.

  With `bands` bands and as many blocks of clients, the turns of one block never share a band. So the run is
  ceil(rounds / bands) Poisson-sampled Gaussians at bands times the rate (arXiv:2306.08153, Theorem 4). One band is
  `client_gaussian`.
  """
  # A block must have enough clients for a round.
  widest = min(setting.participation.min_separation, setting.population // max(1, setting.sizes.least))
  tried = [_amplified(setting, 2 ** power) for power in range(widest.bit_length())]
  return min(tried, key=lambda candidate: candidate.rms_error)


def best_bands(setting: Setting) -> int:
  """Returns the number of bands, a power of two, with the least rms_error under amplification."""
  return amplified(setting).buffers + 1


def _amplified(setting, bands):
  noise = calibration.noise_multiplier(setting.poisson(blocks=bands), setting.target_epsilon, setting.delta, fine=False)
  coefficients = banded.optimise(setting.rounds, bands)
  # A client's turns affect disjoint rows of C, each with the norm of one column.
  scale = noise * math.sqrt((coefficients ** 2).sum())
  return _correlated(setting, coefficients, scale, f'dp_mf amplified banded, {bands} bands', bands - 1, BLOCKS)


def _banded(setting):
  participation = setting.participation
  coefficients = banded.optimise(setting.rounds, participation.min_separation)
  return _correlated(setting, coefficients, _unamplified_noise(setting, coefficients),
                     f'dp_mf banded, {len(coefficients)} bands', len(coefficients) - 1, SEPARATED)


def _blt(setting):
  coefficients = blt.optimise(setting.participation, BLT_BUFFERS, restarts=1).coefficients(setting.rounds)
  return _correlated(setting, coefficients, _unamplified_noise(setting, coefficients),
                     f'dp_mf blt, {BLT_BUFFERS} buffers', BLT_BUFFERS, SEPARATED)


def _unamplified_noise(setting, coefficients):
  sensitivity = math.sqrt(toeplitz.sensitivity_squared(coefficients, setting.participation))
  return sensitivity / gdp.mu(setting.target_epsilon, setting.delta)


def _correlated(setting, coefficients, noise, mechanism, buffers, sampler):
  inverse = toeplitz.invert(coefficients, setting.rounds)
  return Candidate(mechanism=mechanism, noise_multiplier=noise, buffers=buffers, sampler=sampler,
                   rms_error=noise * math.sqrt(toeplitz.error_squared(inverse, 'mean')),
                   max_error=noise * math.sqrt(toeplitz.error_squared(inverse, 'max')))


def _trees(setting):
  participation = setting.participation
  noise = math.sqrt(tree.sensitivity_squared(participation)) / gdp.mu(setting.target_epsilon, setting.delta)
  for efficient, name in ((False, 'dp_ftrl'), (True, 'dp_ftrl efficient')):
    rms, worst = (noise * math.sqrt(tree.error_squared(participation, metric, efficient=efficient))
                  for metric in ('mean', 'max'))
    yield Candidate(mechanism=name, noise_multiplier=noise, rms_error=rms, max_error=worst,
                    buffers=tree.restart_period(participation).bit_length(), sampler=SEPARATED)


def recommend(rows: list[Candidate]) -> str:
  """Returns a recommendation based on the rows of `compare`, as one sentence.

  A mechanism without sampling assumptions and with few buffers is preferred if its error is within 10 % of the best.
  """
  best = rows[0]
  for row in rows:
    if row.sampler == SEPARATED and row.buffers <= BLT_BUFFERS and row.rms_error <= 1.1 * best.rms_error:
      return (f'{row.mechanism}: within {100 * (row.rms_error / best.rms_error - 1):.0f} % of the least noise, no '
              f'sampling assumption, {row.buffers} buffers.')
  return f'{best.mechanism}: the least noise; it holds for {best.sampler}.'
