"""A survey of a federation before it trains: sums over the sites' training images, in the run's secure sum.

Two sums. The first gives labels, intensities and counts over all sites. In the second, each client says how far its own
labels and intensities are from those of all others, in steps of 5 %: so label mismatch and the shift between scanners
show, and no site's own numbers are told. With noise there is the first sum only, and each image has a privacy guarantee
against whoever reads the page.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.accounting import gdp
from tff_vision.aggregation import hidden_totals
from tff_vision.configs import validate
from tff_vision.federation import images, plan
from tff_vision.learning import federated_evaluation, survey_counts
from tff_vision.privacy.noise import integer_gaussian
from tff_vision.secure import os_keys


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
  """Gaussian noise on the sums of a survey, by whoever opens them.

  Attributes:
    multiplier: Standard deviation of the noise over the sensitivity.
    delta: The delta at which epsilon is stated.
  """
  multiplier: float
  delta: float

  def __post_init__(self):
    if not (math.isfinite(self.multiplier) and self.multiplier > 0):
      raise ValueError(f'survey_noise_multiplier must be positive, found {self.multiplier!r}.')
    validate.noise(survey_noise_multiplier=self.multiplier)
    if not 0 < self.delta < 1:
      raise ValueError(f'survey_delta must lie strictly between 0 and 1, found {self.delta!r}.')

  @property
  def epsilon(self) -> float:
    """The exact epsilon of the one release, for one image added or removed."""
    return gdp.epsilon(1 / self.multiplier, self.delta)


def survey(made: plan.Plan, place: Any, *, folder: str, noise: Noise | None = None) -> dict[str, Any]:
  """Returns what is told of the sites' training images, as JSON types.

  Args:
    place: The open runtime of the plan.
    folder: The folder of the files as the executors see it.
    noise: None: the sums are exact.

  Raises:
    ValueError: No site has images, or the secure sum has no room.
  """
  spec, config = images.spec_of(made.schema), made.experiment()
  counts = survey_counts.Survey(spec=spec)
  held = federated_evaluation.FilesOnWorkers(folder=folder, split='train', spec=spec)
  at_once = config.secure.secure_clients_max
  parts = np.array_split(np.arange(len(made.clients)), -(-len(made.clients) // at_once))

  def summed(counting, groups, first):
    total = hidden_totals.hidden(counting, groups, config.secure, place=place, sums=2 * len(parts))
    return sum(_over(total, first, part) for part in parts)

  def _over(total, first, part):
    with place.cohort([int(client) for client in part], population=len(made.clients)):
      return total(first, [held.request(int(client)) for client in part])

  counting = survey_counts.counting(counts, held.read, held.request_type)
  everybody = np.asarray(summed(counting, counts.groups, np.int64(0)))
  if noise is not None:
    everybody = _noised(everybody, counts, noise)
  if noise is None and not everybody[0]:
    raise ValueError('no site has training images: their files are missing, or empty.')
  found = {'clients': len(made.clients), 'sites': len(made.sites), 'noise': None if noise is None else {
      'noise_multiplier': noise.multiplier, 'epsilon': noise.epsilon, 'delta': noise.delta, 'unit': 'example'},
           **_described(made.schema, counts.named(everybody))}
  if noise is None:
    away = summed(survey_counts.distances(counts, held.read, held.request_type), (
        (2 * survey_counts.SHIFT_BINS, 1),), everybody)
    labels, intensities = np.asarray(away).reshape(2, -1)
    found |= {'label_mismatch': labels.tolist(), 'intensity_shift': intensities.tolist()}
    if made.shares_site_metrics:
      told = hidden_totals.in_the_clear(counting)
      found['of_sites'] = {
          site.name: _described(made.schema, counts.named(_over(told, np.int64(0), [
              client for client, number in enumerate(made.site_of_clients) if number == position])))
          for position, site in enumerate(made.sites)}
  return found


def constants(found: Mapping[str, Any]) -> str:
  """Returns a flagfile for `pipelines.plan` with the mean and deviation that a survey measured."""
  lines = [f'--pixel_mean={",".join(f"{one:.6g}" for one in found["mean"])}',
           f'--pixel_std={",".join(f"{one:.6g}" for one in found["deviation"])}']
  if found['noise'] is None:
    lines.append('--pixel_moments_measured')
  return '\n'.join(lines) + '\n'


def _described(schema, named: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the numbers of a survey; with noise they may be slightly impossible, and are made possible."""
  number = max(float(named['examples']), 1.0)
  mean = np.clip(named['mean'] / number, 0.0, 1.0)
  deviation = np.sqrt(np.maximum(named['square'] / number - mean**2, 1e-8))
  black, white = (0.0, 1.0) if schema.dtype == 'uint8' else schema.stored_range
  shares = np.maximum(named['intensity'], 0.0)
  return {
      'examples': _number(named['examples']),
      'labels': dict(zip(schema.class_names, map(_number, named['labels']), strict=True)),
      'images_of_one_value': _number(named['empty']),
      'image_shape': list(schema.image_shape), 'pixels_out_of_range': (named['outside'] / number).tolist(),
      'mean': (black + mean * (white - black)).tolist(), 'deviation': (deviation * (white - black)).tolist(),
      'intensity': (shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)).tolist()}


def _number(value):
  return int(value) if float(value) == int(value) else float(value)


def _noised(total, counts, noise):
  """Returns the sums with noise on a grid of 1 / STEPS; the counts are multiples of it."""
  steps = survey_counts.STEPS
  first, _ = counts.groups
  exact = np.concatenate([total[:first[0]] * steps, total[first[0]:]])
  sigma = noise.multiplier * counts.sensitivity * steps
  key = os_keys.kernel_key()
  drawn = integer_gaussian.gaussian(key, tf.zeros([3], tf.uint32), exact.shape, sigma).numpy()
  noised = (exact + drawn).astype(np.float64)
  return np.concatenate([noised[:first[0]] / steps, noised[first[0]:]])
