"""What is promised to whom, as data: the privacy section of an experiment."""

import dataclasses

from tff_vision.configs import validate

PRIVACIES = ('none', 'client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf', 'distributed_gaussian',
             'distributed_skellam', 'example_dp_sgd', 'local_dp')
EXAMPLE_SAMPLINGS = ('poisson', 'shuffled', 'balls_in_bins')
MF_STRATEGIES = ('blt', 'banded', 'amplified')

_READ_BY_EVERY_MECHANISM = ('privacy', 'clip_norm', 'noise_multiplier', 'target_epsilon', 'delta', 'stop_at_epsilon',
                            'audit_canaries', 'audit_confidence')
_READ_BY = {
    'client_gaussian': ('metrics_noise_multiplier',),
    'client_adaptive': ('target_quantile', 'clip_learning_rate', 'count_stddev', 'metrics_noise_multiplier'),
    'dp_ftrl': ('tree_efficient', 'metrics_noise_multiplier'),
    'dp_mf': ('mf_strategy', 'mf_buffers', 'mf_bands', 'metrics_noise_multiplier'),
    'distributed_gaussian': ('noise_survivors',),
    'distributed_skellam': ('noise_survivors',),
    'example_dp_sgd': ('example_sampling',),
    'local_dp': (),
}

_FEWEST_CANARIES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
  """What is promised to whom; see docs/privacy.md.

  Attributes:
    clip_norm: L2 bound on one client's update (one example's gradient); the first one, where it is tracked.
    noise_multiplier: Standard deviation of the noise on the sum of updates (gradients), divided by clip_norm.
    target_epsilon: Calibrates noise_multiplier for the run's rounds instead of giving it.
    delta: The delta of (epsilon, delta); None means population ** -1.1.
    stop_at_epsilon: Ends the run before the round that would exceed it.
    target_quantile: client_adaptive: the fraction of updates that the tracked clip leaves as they are.
    clip_learning_rate: client_adaptive: how fast the clip moves.
    count_stddev: client_adaptive: noise on the count of unclipped updates; None means cohort_size / 20.
    tree_efficient: dp_ftrl: estimate tree nodes from their children too.
    mf_strategy: dp_mf: buffered linear Toeplitz noise, banded noise, or banded noise amplified by sampling.
    mf_buffers: dp_mf with blt: model-sized buffers on the server.
    mf_bands: dp_mf with banded or amplified; None means as many as the cohorts allow, or as are best.
    noise_survivors: distributed_*: the noise suffices while so many clients of a cohort deliver; None means all.
    metrics_noise_multiplier: Where the server adds the noise: releases each round's number of clients and their mean
      accuracy in training with this noise, over the sensitivity, at a cost that epsilon includes; None withholds both.
    example_sampling: example_dp_sgd: how a step draws a client's examples.
    audit_canaries: So many clients (of example_dp_sgd, examples) that no person stands for get places in the run, and
      each is in the data by the toss of a coin, to measure at its end what can be told about one; 0: none.
    audit_confidence: Of the lower bound on epsilon that the canaries give.
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
  audit_canaries: int = 0
  audit_confidence: float = 0.95

  def __post_init__(self):
    validate.one_of(PRIVACIES, privacy=self.privacy)
    validate.one_of(MF_STRATEGIES, mf_strategy=self.mf_strategy)
    validate.one_of(EXAMPLE_SAMPLINGS, example_sampling=self.example_sampling)
    given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
             if getattr(self, field.name) != field.default}
    if self.privacy == 'none':
      if self.audit_canaries:
        raise ValueError(f'audit_canaries={self.audit_canaries} has nothing to audit with privacy=none, which promises '
                         'nothing; choose a mechanism with --privacy.')
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
    validate.open_unit(**self._present('delta'), audit_confidence=self.audit_confidence)
    if self.audit_canaries and self.audit_canaries < _FEWEST_CANARIES:
      raise ValueError(f'audit_canaries={self.audit_canaries} can show next to nothing; it must be {_FEWEST_CANARIES} '
                       'or more, or 0 for no audit.')
    validate.non_negative(**self._present('noise_multiplier'))
    validate.positive(**self._present('clip_norm', 'target_epsilon', 'stop_at_epsilon', 'clip_learning_rate',
                                      'count_stddev', 'mf_buffers', 'mf_bands', 'noise_survivors',
                                      'metrics_noise_multiplier'))

  def _present(self, *names):
    return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
