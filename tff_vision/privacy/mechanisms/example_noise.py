"""How the noise of a client's steps hangs together within a round of private SGD, and what it costs.

Correlated noise makes the steps of a round one Gaussian mechanism C X + Z, see `privacy.matrix`. The rows of X are the
clipped sums of the steps:

* with `cyclic` batches an example is in one known row of each pass, so rows with the same example are a pass apart;
* in blocks (`amplified`) an example can be in every `blocks`-th row. It is sampled afresh each time, with `blocks`
  times the rate. With as many bands as blocks those rows share no band, and a round is ceil(steps / blocks) sampled
  Gaussians (Choquette-Choo et al. 2023, arXiv:2306.08153, Theorem 4).

Each round draws fresh noise under a new key, so rounds compose.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tff_vision import configs
from tff_vision.accounting import accounting, calibration
from tff_vision.privacy.matrix import banded, blt, toeplitz
from tff_vision.privacy.noise import correlated_noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepNoise:
  """The noise of one client's steps in one round.

  Attributes:
    kind: `independent`, `blt`, `banded` or `amplified`.
    stream: Turns white noise into the noise of a step.
    coefficients: First column of C, for the largest number of steps in a round; later coefficients are zero.
    blocks: Number of blocks to which examples are assigned, see `example_batches`.
  """
  kind: str = 'independent'
  stream: correlated_noise.Stream = correlated_noise.White()
  coefficients: tuple[float, ...] = (1.0,)
  blocks: int = 1

  def releases(self, *, size: int, turns: int, batch_size: int, epochs: int, sampling: str, noise_multiplier: float
               ) -> accounting.SampledGaussian:
    """Returns the releases of `turns` rounds of a client with `size` examples.

    Args:
      noise_multiplier: Standard deviation of the white noise over the clip norm, for all released values together.
    """
    steps_a_pass = -(-size // batch_size)
    steps, batch = epochs * steps_a_pass, min(size, batch_size)
    if self.kind == 'amplified':
      steps, batch = -(-steps // self.blocks), min(size, self.blocks * batch_size)
      noise_multiplier /= math.sqrt(sum(c * c for c in self.coefficients))
    elif self.kind != 'independent':
      # A round is one release that contains all rows of an example.
      steps, batch, sampling = 1, size, 'shuffled'
      noise_multiplier /= self.sensitivity(steps_a_pass, epochs)
    elif sampling in ('shuffled', 'cyclic'):
      # Each example is used once in a pass.
      steps, batch, sampling = epochs, size, 'shuffled'
    return accounting.SampledGaussian(rounds=turns * steps, cohort_size=batch, population=size,
                                      noise_multiplier=noise_multiplier, sampling=sampling)

  def sensitivity(self, steps_a_pass: int, epochs: int) -> float:
    """Returns the L2 distance by which one example of norm 1, in the same step of each pass, moves C X."""
    return math.sqrt(toeplitz.sensitivity_squared(np.array(self.coefficients), toeplitz.Participation(
        rounds=epochs * steps_a_pass, min_separation=steps_a_pass, max_participations=epochs)))

  def describe(self) -> str:
    """Returns the kind of noise with its size, in words."""
    sizes = {'blt': f', {self.stream.num_buffers} buffers', 'independent': ''}
    return self.kind + sizes.get(self.kind, f', {len(self.coefficients)} bands')


def build(privacy: configs.PrivacyConfig, client: configs.ClientConfig, sizes: Sequence[int], turns: int, delta: float
          ) -> StepNoise:
  """Returns the step noise for a run's clients.

  Args:
    sizes: The clients' numbers of examples.
    turns: The most rounds in which one client takes part.

  Raises:
    ValueError: The bands would overlap, or the best number of bands cannot be determined from the settings.
  """
  kind, bands = privacy.example_noise, privacy.mf_bands
  if kind == 'independent':
    return StepNoise()
  fewest, most = (-(-chosen // client.batch_size) for chosen in (max(1, min(sizes)), max(sizes)))
  steps = client.client_epochs * most
  if kind == 'blt':
    strategy = blt.optimise(toeplitz.Participation(rounds=steps, min_separation=most,
                                                   max_participations=client.client_epochs), privacy.mf_buffers)
    return StepNoise(kind=kind, stream=correlated_noise.Buffered(strategy),
                     coefficients=tuple(strategy.coefficients(steps)))
  if bands is not None and bands > fewest:
    raise ValueError(f'mf_bands={bands} exceeds the {fewest} steps of a pass over the examples of the smallest client: '
                     'the bands of two steps with the same example would overlap.')
  if kind == 'banded':
    return _banded(kind, steps, bands or fewest)
  if bands is None:
    if privacy.target_epsilon is None:
      raise ValueError('mf_bands is missing: the best number of bands follows from target_epsilon, not from '
                       'noise_multiplier.')
    tried = [_banded(kind, steps, 2 ** power) for power in range(fewest.bit_length())]
    return min(tried, key=lambda noise: _error(noise, privacy.target_epsilon, delta, size=max(sizes), turns=turns,
                                               client=client))
  return _banded(kind, steps, bands)


def _banded(kind, steps, bands):
  coefficients = correlated_noise.on_grid(banded.optimise(steps, bands))
  return StepNoise(kind=kind, stream=correlated_noise.Banded(tuple(coefficients)), coefficients=tuple(coefficients),
                   blocks=bands if kind == 'amplified' else 1)


def _error(noise, target_epsilon, delta, *, size, turns, client):
  """Returns the error in a prefix sum at a given budget, up to a constant factor."""
  run = noise.releases(size=size, turns=turns, batch_size=client.batch_size, epochs=client.client_epochs,
                       sampling='poisson', noise_multiplier=1.0)
  accounted = calibration.noise_multiplier(run, target_epsilon, delta, fine=False)
  inverse = toeplitz.invert(np.array(noise.coefficients), client.client_epochs * -(-size // client.batch_size))
  return accounted / run.noise_multiplier * math.sqrt(toeplitz.error_squared(inverse, 'mean'))
