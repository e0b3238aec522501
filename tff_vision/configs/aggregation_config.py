"""How the updates of a round become one, as data: the aggregation section of an experiment."""

import dataclasses
from typing import Any

from tff_vision.configs import training_config, validate

AGGREGATORS = ('mean', 'norm_clipping', 'zeroing', 'median', 'trimmed_mean', 'krum', 'multi_krum', 'geometric_median')
COMPRESSIONS = ('none', 'uniform', 'stochastic', 'hadamard', 'dft', 'top_k')

_BOUNDED = ('norm_clipping', 'zeroing')
_TOLERANT = ('trimmed_mean', 'krum', 'multi_krum')
_QUANTISED = ('uniform', 'stochastic', 'hadamard', 'dft')


@dataclasses.dataclass(frozen=True, kw_only=True)
class AggregationConfig:
  """How updates are sent and aggregated; docs/explanation/robustness.md says what each rule withstands and costs.

  A client counts for what `client_weighting` says, with every aggregator but krum, which takes one update as it is.

  Attributes:
    aggregator: From the updates of a round to one update: a name, a `tff.aggregators` factory, or a reference to one
      or to a function that makes one.
    aggregator_option: `key=value` for the function of a reference.
    update_norm_bound: norm_clipping shortens updates to this L2 norm, zeroing makes longer ones zero.
    tolerated_fraction: Share of attackers that trimmed_mean, krum and multi_krum are set up for.
    compression: How a client writes its update before it sends it.
    compression_bits: Bits of one value; of every compression but top_k.
    top_k_fraction: top_k: share of an update's values that is sent; the rest waits for the client's next turn.
  """
  aggregator: Any = 'mean'
  aggregator_option: tuple[str, ...] = ()
  update_norm_bound: float | None = None
  tolerated_fraction: float = 0.2
  compression: str = 'none'
  compression_bits: int = 8
  top_k_fraction: float = 0.1

  def __post_init__(self):
    validate.one_of_or_own(AGGREGATORS, aggregator=self.aggregator)
    training_config.check_options(AGGREGATORS, self.aggregator, self.aggregator_option, 'aggregator')
    validate.one_of(COMPRESSIONS, compression=self.compression)
    if (self.aggregator in _BOUNDED) != (self.update_norm_bound is not None):
      raise ValueError(f'update_norm_bound={self.update_norm_bound!r} with aggregator={self.aggregator}: '
                       f'{" and ".join(_BOUNDED)} need the bound, nothing else reads it.')
    if self.update_norm_bound is not None:
      validate.positive(update_norm_bound=self.update_norm_bound)
    if not 0 <= self.tolerated_fraction < 0.5:
      raise ValueError(f'tolerated_fraction must be zero or more and below 0.5, found {self.tolerated_fraction!r}: no '
                       'rule withstands a majority.')
    if not 1 <= self.compression_bits <= 16:
      raise ValueError(f'compression_bits must lie in 1..16, found {self.compression_bits!r}.')
    if not 0 < self.top_k_fraction <= 1:
      raise ValueError(f'top_k_fraction must be above 0 and at most 1, found {self.top_k_fraction!r}.')
    self._read('tolerated_fraction', 'aggregator', _TOLERANT)
    self._read('compression_bits', 'compression', _QUANTISED)
    self._read('top_k_fraction', 'compression', ('top_k',))

  def _read(self, name, by, readers):
    """Refuses a field that was set where nothing reads it."""
    if getattr(self, name) != type(self).__dataclass_fields__[name].default and getattr(self, by) not in readers:
      raise ValueError(f'{name}={getattr(self, name)!r} has no effect with {by}={getattr(self, by)}.')
