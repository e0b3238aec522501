"""Flags of `AggregationConfig`."""

from absl import flags

from tff_vision.configs import aggregation_config

_DEFAULTS = aggregation_config.AggregationConfig()

flags.DEFINE_string('aggregator', _DEFAULTS.aggregator,
                    f'How the updates of a round become one: {", ".join(aggregation_config.AGGREGATORS)}; or '
                    'package.module:attribute, a tff.aggregators factory of your own.')
flags.DEFINE_multi_string('aggregator_option', _DEFAULTS.aggregator_option,
                          'key=value for the function of --aggregator, repeatable.')
flags.DEFINE_float('update_norm_bound', _DEFAULTS.update_norm_bound,
                   'L2 norm above which norm_clipping shortens an update and zeroing drops it.')
flags.DEFINE_float('tolerated_fraction', _DEFAULTS.tolerated_fraction,
                   'Share of attackers that trimmed_mean, krum and multi_krum are set up for.')
flags.DEFINE_enum('compression', _DEFAULTS.compression, aggregation_config.COMPRESSIONS,
                  'How a client writes its update before it sends it.')
flags.DEFINE_integer('compression_bits', _DEFAULTS.compression_bits, 'Bits of one value of a quantised update.')
flags.DEFINE_float('top_k_fraction', _DEFAULTS.top_k_fraction, 'Share of an update that top_k sends.')
