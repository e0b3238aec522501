"""The one place where the order of aggregation layers is decided.

On the client: limit (by the aggregator), clip (by the plan), weigh, quantise, encrypt or mask. On the server: add what
cannot be read. Whoever may learn the sum decrypts or unmasks it; only then are noise (by the plan) and the division
applied. Where the server may read updates: limit and compress on the client; read, then add up or decide on the server.
"""

import functools

import tensorflow_federated as tff

from tff_vision import configs, plugins
from tff_vision.aggregation import codecs, collected, limits, rules
from tff_vision.configs import aggregation_config
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import mean

Aggregator = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


def build_stack(plan: plan_lib.PrivacyPlan,
                config: configs.AggregationConfig = configs.AggregationConfig()) -> Aggregator:  # noqa: B008  Frozen.
  """Returns the aggregator of a run whose server may read updates, built inside out.

  With a client-level mechanism: the plan's own clipping, sum, noise and fixed denominator, unweighted, because weights
  would be data-dependent sensitivities. Else what `config` asks for, the mean weighted by examples by default.
  """
  private = plan.aggregator(None)
  if private is not None and (own(config) is not None or config.aggregator in rules.RULES
                              or config.compression != 'none'):
    raise ValueError(f'aggregator={config.aggregator} with compression={config.compression} does not go with the '
                     'privacy mechanism, which clips, adds up and noises updates by itself.')
  return limits.limited(private or _readable(config), config)


def own(config: configs.AggregationConfig) -> Aggregator | None:
  """Returns the user's own factory, or None where the config names a built-in rule.

  Raises:
    ValueError: A reference leads nowhere, or to no factory.
  """
  chosen = config.aggregator
  if not plugins.is_own(chosen, aggregation_config.AGGREGATORS):
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
  # A cohort may be empty, or every client may hold weight zero: then the model stays as it is.
  return tff.aggregators.MeanFactory(no_nan_division=True)


def build_secure_stack(plan: plan_lib.PrivacyPlan, sum_factory: tff.aggregators.UnweightedAggregationFactory, *,
                       largest_weight: float) -> Aggregator:
  """Returns the same aggregator over a sum of structures that nobody can read before it is complete.

  Args:
    largest_weight: The largest weight of one client in a round; public.
  """
  if (private := plan.aggregator(sum_factory)) is not None:
    return private
  return mean.SecureMeanFactory(sum_factory, largest_weight=largest_weight)
