"""What is promised to whom, as data: the privacy section of an experiment."""

import dataclasses

from tff_vision.configs import validate

PRIVACIES = ('none', 'client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf', 'distributed_gaussian',
             'distributed_skellam', 'example_dp_sgd', 'local_dp')
EXAMPLE_SAMPLINGS = ('poisson', 'shuffled', 'balls_in_bins', 'cyclic')
EXAMPLE_NOISES = ('independent', 'blt', 'banded', 'amplified')
MF_STRATEGIES = ('blt', 'banded', 'amplified')

_READ_BY_EVERY_MECHANISM = ('privacy', 'clip_norm', 'noise_multiplier', 'target_epsilon', 'delta', 'stop_at_epsilon')
_READ_BY = {
    'client_gaussian': ('metrics_noise_multiplier',),
    'client_adaptive': ('target_quantile', 'clip_learning_rate', 'count_stddev', 'metrics_noise_multiplier'),
    'dp_ftrl': ('tree_efficient', 'metrics_noise_multiplier'),
    'dp_mf': ('mf_strategy', 'mf_buffers', 'mf_bands', 'metrics_noise_multiplier'),
    'distributed_gaussian': ('noise_survivors',),
    'distributed_skellam': ('noise_survivors',),
    'example_dp_sgd': ('example_sampling', 'example_noise', 'mf_buffers', 'mf_bands', 'example_adaptive_clip',
                       'target_quantile', 'clip_learning_rate', 'count_stddev', 'example_average', 'example_copies',
                       'example_shift', 'example_mirror'),
    'local_dp': (),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
  """What is promised to whom; see docs/privacy.md.

  Attributes:
    clip_norm: L2 bound on one client's update (one example's gradient); the first one, where it is tracked.
    noise_multiplier: Standard deviation of the noise on the sum of updates (gradients), divided by clip_norm.
    target_epsilon: Calibrates noise_multiplier for the run's rounds instead of giving it.
    delta: The delta of (epsilon, delta); None means population ** -1.1.
    stop_at_epsilon: Ends the run before the round that would exceed it.
    target_quantile: client_adaptive, example_adaptive_clip: the fraction of updates (gradients) that the tracked clip
      leaves as they are.
    clip_learning_rate: As target_quantile: how fast the clip moves.
    count_stddev: As target_quantile: noise on the count of what is unclipped; None means cohort_size / 20 (batch_size /
      20).
    tree_efficient: dp_ftrl: estimate tree nodes from their children too.
    mf_strategy: dp_mf: buffered linear Toeplitz noise, banded noise, or banded noise amplified by sampling.
    mf_buffers: dp_mf with blt: model-sized buffers on the server; example_noise=blt: on each client, while it trains.
    mf_bands: dp_mf or example_noise, banded or amplified; None means as many as the cohorts (the passes) allow, or as
      are best.
    noise_survivors: distributed_*: the noise suffices while so many clients of a cohort deliver; None means all.
    metrics_noise_multiplier: Where the server adds the noise: releases each round's number of clients and their mean
      accuracy in training with this noise, over the sensitivity, at a cost that epsilon includes; None withholds both.
    example_sampling: example_dp_sgd: how a step draws a client's examples.
    example_noise: example_dp_sgd: how the noise of the steps of a round hangs together.
    example_adaptive_clip: example_dp_sgd: whether the clip follows a quantile of the gradients' norms within a round.
    example_average: example_dp_sgd: the decay of the average over steps that a client returns in place of its last
      weights; 0 returns those.
    example_copies: example_dp_sgd: views of each example in a step, whose gradients are averaged before the clip.
    example_shift: example_dp_sgd: each view is moved by up to so many pixels.
    example_mirror: example_dp_sgd: whether half of the views are mirrored.
  """
  privacy: str = 'none'
  clip_norm: float | None = None
  noise_multiplier: float | None = None
  target_epsilon: float | None = None
  delta: float | None = None
  stop_at_epsilon: float | None = None
  target_quantile: float = 0.5
  clip_learning_rate: float = 0.2
  count_stddev: float | None = None
  tree_efficient: bool = True
  mf_strategy: str = 'blt'
  mf_buffers: int = 3
  mf_bands: int | None = None
  noise_survivors: int | None = None
  metrics_noise_multiplier: float | None = None
  example_sampling: str = 'poisson'
  example_noise: str = 'independent'
  example_adaptive_clip: bool = False
  example_average: float = 0.0
  example_copies: int = 1
  example_shift: int = 0
  example_mirror: bool = False

  def __post_init__(self):
    validate.one_of(PRIVACIES, privacy=self.privacy)
    validate.one_of(MF_STRATEGIES, mf_strategy=self.mf_strategy)
    validate.one_of(EXAMPLE_SAMPLINGS, example_sampling=self.example_sampling)
    validate.one_of(EXAMPLE_NOISES, example_noise=self.example_noise)
    given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
             if getattr(self, field.name) != field.default}
    if self.privacy == 'none':
      for name, value in given.items():
        raise ValueError(f'{name}={value!r} has no effect with privacy=none; choose a mechanism with --privacy.')
      return
    for name in given.keys() - {*_READ_BY_EVERY_MECHANISM, *_READ_BY[self.privacy]}:
      raise ValueError(f'{name}={given[name]!r} has no effect with privacy={self.privacy}.')
    if self.clip_norm is None:
      raise ValueError(f'clip_norm is missing: privacy={self.privacy} adds noise in proportion to the bound on '
                       'one update.')
    if (self.noise_multiplier is None) == (self.target_epsilon is None):
      raise ValueError(f'privacy={self.privacy} takes exactly one of noise_multiplier and target_epsilon; found '
                       f'noise_multiplier={self.noise_multiplier!r}, target_epsilon={self.target_epsilon!r}.')
    validate.open_unit(target_quantile=self.target_quantile)
    validate.open_unit(**self._present('delta'))
    validate.non_negative(**self._present('noise_multiplier'))
    validate.positive(**self._present('clip_norm', 'target_epsilon', 'stop_at_epsilon', 'clip_learning_rate',
                                      'count_stddev', 'mf_buffers', 'mf_bands', 'noise_survivors',
                                      'metrics_noise_multiplier'))

    validate.fraction(example_average=self.example_average)
    validate.positive(example_copies=self.example_copies)
    validate.non_negative(example_shift=self.example_shift)
    if self.privacy == 'example_dp_sgd':
      self._check_example_options(given)

  def _check_example_options(self, given):
    """Refuses options of private SGD whose ledger would be another one than theirs, or that nothing reads."""
    noise, sampling = self.example_noise, self.example_sampling
    if noise in ('blt', 'banded') and sampling != 'cyclic':
      raise ValueError(f'example_noise={noise} needs example_sampling=cyclic, found {sampling}: it counts on a known '
                       'number of steps between two with the same example.')
    if noise == 'amplified' and sampling != 'poisson':
      raise ValueError(f'example_noise=amplified needs example_sampling=poisson, found {sampling}: its epsilon counts '
                       'on every example of a block being drawn independently.')
    if noise != 'independent' and self.example_adaptive_clip:
      raise ValueError(f'example_adaptive_clip does not go with example_noise={noise}: the noise of one step cancels '
                       'that of others only while the clip stays.')
    readers = {'mf_buffers': (noise == 'blt', 'example_noise=blt'),
               'mf_bands': (noise in ('banded', 'amplified'), 'example_noise=banded or amplified'),
               **dict.fromkeys(('target_quantile', 'clip_learning_rate', 'count_stddev'),
                               (self.example_adaptive_clip, 'example_adaptive_clip'))}
    for name, (is_read, reader) in readers.items():
      if name in given and not is_read:
        raise ValueError(f'{name}={given[name]!r} has no effect with privacy=example_dp_sgd without {reader}.')

  def _present(self, *names):
    return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
