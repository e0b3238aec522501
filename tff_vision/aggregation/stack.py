"""Builds the stack of aggregation layers; their order is decided here only.

On the client: limit (by the aggregator), clip (by the plan), weight, quantise, encrypt or mask. On the server: add the
hidden updates. Whoever may learn the sum decrypts or unmasks it; only then are noise (by the plan) and the division
applied. Where the server may read updates: limit and compress on the client; decode, then sum or apply a rule on the
server.
"""

import functools

import tensorflow_federated as tff

from tff_vision import catalogue, configs, plugins, protocols
from tff_vision.aggregation import codecs, collected, limits, rules, single_updates
from tff_vision.privacy import plan as plan_lib
from tff_vision.privacy.mechanisms import base
from tff_vision.secure import hidden_vector


def build_stack(plan: plan_lib.PrivacyPlan,
                config: configs.AggregationConfig = configs.AggregationConfig()) -> protocols.Aggregator:  # noqa: B008  Frozen.
  """Returns the aggregator of a run whose server may read updates, built from the innermost layer outwards.

  With a client-level mechanism: the plan's own clipping, sum, noise and fixed denominator, unweighted, because weights
  would make the sensitivity depend on data. Otherwise the aggregator of `config`, by default the mean weighted by
  examples.
  """
  private = _private(plan, None)
  if private is not base.NO_AGGREGATOR:
    require_sum(config, 'the privacy mechanism, which clips, adds up and noises updates by itself')
  readable = _readable(config) if private is base.NO_AGGREGATOR else private
  if config.contribution != 'none':
    readable = single_updates.SingleUpdatesFactory(readable)
  return limits.limited(readable, config)


def require_sum(config: configs.AggregationConfig, beside: str) -> None:
  """Refuses aggregation that does more than change each update by itself, where something else adds the updates.

  Args:
    beside: What adds them up.

  Raises:
    ValueError: The aggregation does more; the message names the settings.
  """
  if (plugins.is_own(config.aggregator, catalogue.names('aggregator')) or config.aggregator in rules.RULES
      or config.compression != 'none'):
    raise ValueError(f'aggregator={plugins.shown(config.aggregator)} with compression={config.compression} does not go '
                     f'with {beside}.')


def _private(plan, sum_factory):
  """Returns the plan's aggregator; raises if the plan returns neither an aggregator nor `NO_AGGREGATOR`."""
  found = plan.aggregator(sum_factory)
  if not isinstance(found, (base.NoAggregator, tff.aggregators.UnweightedAggregationFactory)):
    raise TypeError(f'{type(plan).__name__}.aggregator must return an unweighted aggregation factory or NO_AGGREGATOR, '
                    f'found {found!r}.')
  return found


def own(config: configs.AggregationConfig) -> protocols.Aggregator | None:
  """Returns the user's own factory, or None where the config names a built-in rule.

  Raises:
    ValueError: A reference cannot be resolved, or does not give a factory.
  """
  chosen = config.aggregator
  if not plugins.is_own(chosen, catalogue.names('aggregator')):
    return None
  made = plugins.value_of(chosen, {}, field='aggregator')
  kinds = (tff.aggregators.UnweightedAggregationFactory, tff.aggregators.WeightedAggregationFactory)
  if callable(made) and not isinstance(made, kinds):
    given = plugins.options(config.aggregator_option, field='aggregator_option')
    plugins.check_call(made, given, setting=f'aggregator={plugins.shown(chosen)}')
    made = made(**given)
  if not isinstance(made, kinds):
    raise ValueError(f'aggregator={plugins.shown(chosen)} must be a tff.aggregators factory, found '
                     f'{type(made).__name__}.')
  return made


def _readable(config):
  if (given := own(config)) is not None:
    return given
  codec_for = functools.partial(codecs.build_codec, config)
  if config.aggregator in rules.RULES:
    return collected.CollectedFactory(rules.build_rule(config), codec_for)
  if config.compression != 'none':
    return collected.DecodedMeanFactory(codec_for)
  # With an empty cohort, or if every client has weight zero, the model stays unchanged.
  return tff.aggregators.MeanFactory(no_nan_division=True)


def build_secure_stack(plan: plan_lib.PrivacyPlan, sum_factory: tff.aggregators.UnweightedAggregationFactory,
                       vector: hidden_vector.HiddenVector) -> tuple[protocols.Aggregator, tuple[str, ...]]:
  """Returns the same aggregator over a sum of structures that nobody can read before it is complete.

  Args:
    vector: The vector that clients hide.

  Returns:
    The aggregator; and the path of names to the sum's state within the aggregator's state. A mechanism's factory gives
    this path as `PLACE_OF_SUM` where the sum's state is not its whole state.
  """
  private = _private(plan, sum_factory)
  if private is base.NO_AGGREGATOR and vector.largest_weight is not None:
    return hidden_vector.SecureMeanFactory(sum_factory, largest_weight=vector.largest_weight), ()
  if private is base.NO_AGGREGATOR or vector.weighs:
    raise ValueError('a privacy mechanism bounds each update and adds them up by itself, or does neither: '
                     f'{type(plan).__name__} has update_bound={plan.update_bound} and an aggregator {private!r}.')
  return private, getattr(private, 'PLACE_OF_SUM', ())
