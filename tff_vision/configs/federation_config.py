"""The configuration of a federation's plan: the kind of its images, and its sites."""

import dataclasses
import math

from tff_vision.configs import option, privacy_config, validate

DTYPES = ('uint8', 'float32')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaConfig:
  """The kind of images that every site of a federation has."""
  image_shape: tuple[str, ...] = option.option(
      (), 'height,width,channels of the images that the sites store.', separated=True)
  image_dtype: str = option.option('uint8', 'Type of stored pixels.', choices=DTYPES)
  class_names: tuple[str, ...] = option.option(
      (), 'The classes or findings, in the order of their numbers, separated by commas.', separated=True)
  multi_label: bool = option.option(False, 'Whether an image has any number of findings rather than one class.')
  stored_range: tuple[str, ...] = option.option(
      (), 'BLACK,WHITE: the stored values of black and white; unset: 0,255 of uint8, 0,1 of float32.', separated=True)
  pixel_mean: tuple[str, ...] = option.option(
      (), 'For preprocess=standardize: the mean of each channel, after scaling to 0..1, separated by commas.',
      separated=True)
  pixel_std: tuple[str, ...] = option.option((), 'The same for the deviation.', separated=True)
  pixel_moments_measured: bool = option.option(
      False, 'Whether pixel_mean and pixel_std were measured in the sites\' images without noise; then no differential '
      'privacy covers them.')

  def __post_init__(self):
    option.check_choices(self)
    _numbers(self.image_shape, 'image_shape', 'three positive whole numbers', 3, whole=True)
    _numbers(self.stored_range, 'stored_range', 'two numbers', 2)
    for name in ('pixel_mean', 'pixel_std'):
      _numbers(getattr(self, name), name, 'numbers', None)
    if self.pixel_moments_measured and not self.pixel_mean:
      raise ValueError('pixel_moments_measured=True has no effect without pixel_mean and pixel_std.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SitesConfig:
  """The sites of a federation, and its plan's file."""
  sites: tuple[str, ...] = option.option(
      (), 'name=host:port of each site, separated by commas; name=host:port/3 has the clients name-1 to name-3, and '
      'without a number one client of the site\'s name.', separated=True)
  sites_file: str | None = option.option(
      None, 'JSON file with the same, for clients with names: a list of {"name", "address", "clients"}.')
  shares_site_metrics: bool = option.option(
      False, 'Whether the coordinator learns each site\'s own numbers; otherwise it has sums over sites only.')
  private_counts: bool = option.option(
      False, 'Whether no worker says how many training examples it has: they are weights inside the secure sum only.')
  most_examples: int | None = option.option(
      None, 'With private_counts: a bound on the training examples of a client, from which it follows how weights are '
      'encoded; a site with more refuses.')
  plan_out: str = option.option('plan.json', 'The file to write.')

  def __post_init__(self):
    if bool(self.sites) == (self.sites_file is not None):
      raise ValueError('give the sites of the federation by one of sites and sites_file.')
    if self.private_counts != (self.most_examples is not None):
      raise ValueError('private_counts and most_examples are given together: without a bound on the number of examples '
                       'nobody knows how to encode weights.')
    if self.most_examples is not None and not 0 < self.most_examples <= privacy_config.MOST_EXAMPLES:
      raise ValueError(f'most_examples must lie in 1..{privacy_config.MOST_EXAMPLES}, found {self.most_examples}.')
    validate.writable_file(plan_out=self.plan_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig:
  """Which federation."""
  plan: str | None = option.option(
      None, 'plan.json of a federation, made by pipelines.plan: its sites have the images, and this machine has none.')


def numbers(texts: tuple[str, ...]) -> tuple[float, ...]:
  """Returns the values of a field of numbers."""
  return tuple(float(text) for text in texts)


def _numbers(texts, name, said, count, *, whole=False):
  if not texts:
    return
  try:
    found = numbers(texts)
  except ValueError:
    found = (math.nan,)
  legal = all(math.isfinite(one) and (not whole or one == int(one) and one > 0) for one in found)
  if not legal or count is not None and len(found) != count:
    raise ValueError(f'{name} must be {said}, separated by commas; found {",".join(texts)!r}.')
