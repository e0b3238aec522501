"""The configuration of differential privacy."""

import dataclasses

from tff_vision import catalogue
from tff_vision.configs import compatibility, option, validate

_OF_ONE = 'Privacy: what single mechanisms read'
_SGD = 'Privacy: private SGD on clients (example_dp_sgd)'
_FEWEST_CANARIES = 8
MOST_EXAMPLES = 2**20  # Of one client: no count of a client exceeds it.
_LEAST_CLIP, _MOST_CLIP = 1e-30, 1e30  # Clients clip in float32, in which a grid of the norm needs room too.


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
  """What is promised to whom; see docs/explanation/privacy.md."""
  privacy: str = option.option('none', 'Differential-privacy mechanism.')
  clip_norm: float | None = option.option(
      None, 'L2 bound on one client\'s update, the first one where it is tracked; of example_dp_sgd, on one example\'s '
      'gradient.')
  noise_multiplier: float | None = option.option(
      None, 'Standard deviation of the noise on the sum of updates (gradients), over clip_norm.')
  target_epsilon: float | None = option.option(
      None, 'Calibrate the noise of the run\'s rounds to this epsilon instead.')
  delta: float | None = option.option(
      None, 'The delta of (epsilon, delta); unset means population ** -1.1, where the population is all clients, or '
      'with example_dp_sgd the examples of the largest client.')
  stop_at_epsilon: float | None = option.option(None, 'End before the round that would exceed it.')
  target_quantile: float = option.option(
      0.5, 'client_adaptive, example_adaptive_clip: fraction of updates (gradients) that the clip leaves as they are.',
      topic=_OF_ONE)
  clip_learning_rate: float = option.option(
      0.2, 'client_adaptive, example_adaptive_clip: how fast the clip moves.', topic=_OF_ONE)
  count_stddev: float | None = option.option(
      None, 'client_adaptive, example_adaptive_clip: noise on the count of what is unclipped; unset means cohort_size '
      '/ 20, or batch_size / 20.', topic=_OF_ONE)
  tree_efficient: bool = option.option(
      True, 'dp_ftrl: estimate tree nodes from their children too.', topic=_OF_ONE)
  mf_strategy: str = option.option('blt', 'dp_mf: shape of the correlated noise.', topic=_OF_ONE)
  mf_buffers: int = option.option(
      3, 'dp_mf with blt: model-sized buffers on the server; example_noise=blt: on each client, while it trains.',
      topic=_OF_ONE)
  mf_bands: int | None = option.option(
      None, 'dp_mf or example_noise with banded or amplified: bands; unset means as many as allowed, or the best '
      'number.',
      topic=_OF_ONE)
  noise_survivors: int | None = option.option(
      None, 'distributed_*: noise suffices while so many clients of a cohort deliver; unset means all.', topic=_OF_ONE)
  metrics_noise_multiplier: float | None = option.option(
      None, 'Where the server adds the noise: release each round\'s number of clients and their accuracy with this '
      'noise, over the sensitivity, at a cost that epsilon includes; unset withholds both.')
  evaluation_noise_multiplier: float | None = option.option(
      None, 'Where the server or example_dp_sgd adds the noise: release the number and the accuracy of the clients\' '
      'own held-out examples with this noise, over what one client (of example_dp_sgd, one example) changes; epsilon '
      'includes it (there it has a ledger of its own). Unset: they are not evaluated under differential privacy.',
      topic=_OF_ONE)
  evaluation_most_examples: int = option.option(
      1, 'With evaluation_noise_multiplier, where clients are protected: a client with more held-out examples counts '
      'as one with so many, of the same accuracy; with 1, all clients weigh the same.', topic=_OF_ONE)
  example_sampling: str = option.option(
      'poisson', 'How a step draws a client\'s examples.', topic=_SGD)
  example_noise: str = option.option(
      'independent', 'How the noise of the steps of a round hangs together.', topic=_SGD)
  example_adaptive_clip: bool = option.option(
      False, 'Whether the clip follows a quantile of the gradients\' norms within a round.', topic=_SGD)
  example_average: float = option.option(
      0.0, 'Decay of the average over steps that a client returns; 0 returns the last weights.', topic=_SGD)
  example_copies: int = option.option(
      1, 'Views of an example in a step, whose gradients are averaged before the clip.', topic=_SGD)
  example_shift: int = option.option(0, 'Each view is moved by up to so many pixels.', topic=_SGD)
  example_mirror: bool = option.option(False, 'Whether half of the views are mirrored.', topic=_SGD)
  audit_canaries: int = option.option(
      0, 'Put so many canaries (clients; of example_dp_sgd, examples) into the run, each by a secret coin, and bound '
      'epsilon from below at its end; 0: none.')
  audit_confidence: float = option.option(0.95, 'Of the bound that audit_canaries give.')

  @property
  def of_examples(self) -> bool:
    """Whether the promise is to single examples of a client; it is not to whole clients then."""
    return catalogue.Trait.EXAMPLE_LEVEL in catalogue.row('privacy', self.privacy).traits

  def __post_init__(self):
    option.check_choices(self)
    compatibility.check(self)
    if self.privacy == 'none':
      return
    if (self.noise_multiplier is None) == (self.target_epsilon is None):
      raise ValueError(f'privacy={self.privacy} takes exactly one of noise_multiplier and target_epsilon; found '
                       f'noise_multiplier={self.noise_multiplier!r}, target_epsilon={self.target_epsilon!r}.')
    validate.open_unit(target_quantile=self.target_quantile)
    validate.open_unit(**self._present('delta'), audit_confidence=self.audit_confidence)
    validate.non_negative(audit_canaries=self.audit_canaries)
    if 0 < self.audit_canaries < _FEWEST_CANARIES:
      raise ValueError(f'audit_canaries={self.audit_canaries} can show next to nothing; it must be {_FEWEST_CANARIES} '
                       'or more, or 0 for no audit.')
    validate.noise(**self._present('noise_multiplier'))
    validate.positive(**self._present('clip_norm', 'target_epsilon', 'stop_at_epsilon', 'clip_learning_rate',
                                      'count_stddev', 'mf_buffers', 'mf_bands', 'noise_survivors',
                                      'metrics_noise_multiplier', 'evaluation_noise_multiplier'))
    if self.clip_norm is not None and not _LEAST_CLIP <= self.clip_norm <= _MOST_CLIP:
      raise ValueError(f'clip_norm must lie in {_LEAST_CLIP:g}..{_MOST_CLIP:g}, found {self.clip_norm!r}: clients clip '
                       'in float32.')
    validate.positive(evaluation_most_examples=self.evaluation_most_examples)
    validate.noise(**self._present('count_stddev', 'metrics_noise_multiplier', 'evaluation_noise_multiplier'))
    self._check_evaluations()
    validate.fraction(example_average=self.example_average)
    validate.positive(example_copies=self.example_copies)
    validate.non_negative(example_shift=self.example_shift)
    if not self.audit_canaries and 'audit_confidence' in option.changed(self):
      raise ValueError(f'audit_confidence={self.audit_confidence} has no effect without audit_canaries.')
    if 'example_adaptive_clip' in catalogue.row('privacy', self.privacy).reads and not self.example_adaptive_clip:
      for name in {'target_quantile', 'clip_learning_rate', 'count_stddev'} & option.changed(self).keys():
        raise ValueError(f'{name}={getattr(self, name)!r} has no effect with privacy={self.privacy} without '
                         'example_adaptive_clip.')

  def _check_evaluations(self):
    if self.evaluation_noise_multiplier is None:
      if 'evaluation_most_examples' in option.changed(self):
        raise ValueError(f'evaluation_most_examples={self.evaluation_most_examples} has no effect without '
                         'evaluation_noise_multiplier.')
      return
    validate.at_most(MOST_EXAMPLES, evaluation_most_examples=self.evaluation_most_examples)
    if self.evaluation_noise_multiplier * self.evaluation_most_examples > validate.MOST_NOISE:
      raise ValueError(f'evaluation_noise_multiplier={self.evaluation_noise_multiplier:g} times '
                       f'evaluation_most_examples={self.evaluation_most_examples} must be at most '
                       f'{validate.MOST_NOISE}: integers have no room for more noise.')
    if not self.of_examples and self.target_epsilon is not None:
      raise ValueError(f'evaluation_noise_multiplier={self.evaluation_noise_multiplier:g} does not go with '
                       f'target_epsilon={self.target_epsilon:g} and privacy={self.privacy}: the evaluations cost each '
                       'client too, and the noise of training would be calibrated without them; give noise_multiplier, '
                       'and stop_at_epsilon to hold a budget.')

  def _present(self, *names):
    return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
