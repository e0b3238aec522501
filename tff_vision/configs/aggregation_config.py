"""The configuration of aggregation and compression."""

import dataclasses
from typing import Any

from tff_vision.configs import compatibility, option, training_config, validate

_CONTRIBUTION = 'Contribution of each client'


@dataclasses.dataclass(frozen=True, kw_only=True)
class AggregationConfig:
  """How updates are sent and aggregated; docs/explanation/robustness.md says what each rule withstands and costs.

  With every aggregator except krum, `client_weighting` determines the weight of a client; krum takes one update
  unchanged.
  """
  aggregator: Any = option.option(
      'mean', 'How the updates of a round become one.',
      own='package.module:attribute, a tff.aggregators factory of your own or a function that makes one')
  aggregator_option: tuple[str, ...] = option.option(
      (), 'key=value for the function of --aggregator, repeatable.')
  update_norm_bound: float | None = option.option(
      None, 'L2 norm above which norm_clipping shortens an update and zeroing drops it.')
  tolerated_fraction: float = option.option(
      0.2, 'Share of attackers that trimmed_mean, krum and multi_krum are set up for.')
  compression: str = option.option('none', 'How a client writes its update before it sends it.')
  compression_bits: int = option.option(8, 'Bits of one value of a quantised update.')
  top_k_fraction: float = option.option(
      0.1, 'Share of an update that top_k sends; the rest waits for the client\'s next turn.')
  contribution: str = option.option(
      'none', 'Whether the report says what each client contributed, in a simulation whose server reads single '
      'updates.', topic=_CONTRIBUTION)
  contribution_metric: str | None = option.option(
      None, 'The number on the test set that contributions add up to, such as loss; unset: the metric that stands '
      'first in the report.', topic=_CONTRIBUTION)
  contribution_permutations: int = option.option(
      20, 'Random orders of the clients in a round of more than six.', topic=_CONTRIBUTION)
  contribution_tolerance: float = option.option(
      0.001, 'An order ends where the metric is nearer than this to that of all clients of the round.',
      topic=_CONTRIBUTION)

  def __post_init__(self):
    option.check_choices(self)
    validate.positive(contribution_permutations=self.contribution_permutations)
    validate.non_negative(contribution_tolerance=self.contribution_tolerance)
    training_config.check_options('aggregator', self.aggregator, self.aggregator_option)
    if self.update_norm_bound is not None:
      validate.positive(update_norm_bound=self.update_norm_bound)
    if not 0 <= self.tolerated_fraction < 0.5:
      raise ValueError(f'tolerated_fraction must be zero or more and below 0.5, found {self.tolerated_fraction!r}: no '
                       'rule withstands a majority.')
    if not 1 <= self.compression_bits <= 16:
      raise ValueError(f'compression_bits must lie in 1..16, found {self.compression_bits!r}.')
    if not 0 < self.top_k_fraction <= 1:
      raise ValueError(f'top_k_fraction must be above 0 and at most 1, found {self.top_k_fraction!r}.')
    compatibility.check(self)
