"""What does not go together with an aggregation or a compression, and why: one table, which refusals read.

Whatever is not in the table composes. docs/robustness.md shows it to users.
"""

from collections.abc import Iterator, Mapping

from tff_vision import configs, plugins
from tff_vision.aggregation import limits, rules
from tff_vision.configs import aggregation_config

_CLIENT_DP = 'client-level differential privacy'
_LOCAL_DP = 'local differential privacy'
_SECURE = 'a secure sum'
_WORKER_DATA = 'data on the workers'
_KEEPING = 'an algorithm whose clients keep state'
_SEVERAL = 'an algorithm with several models'

# (what the aggregation has, what the run has) -> the reason.
REFUSED: Mapping[tuple[str, str], str] = {
    ('rule', _CLIENT_DP): 'the rule needs single updates, and noise is calibrated to a sum; norm_clipping and zeroing '
                          'change each update by itself and go with it',
    ('rule', _LOCAL_DP): 'the noise on every single update drowns the distances and orders that the rule goes by',
    ('rule', _SECURE): 'the rule needs single updates, which the sum hides; norm_clipping and zeroing change each '
                       'update by itself and go with it',
    ('own', _CLIENT_DP): 'the mechanism clips, adds up and noises updates by itself, and what another factory does to '
                         'them no noise is calibrated to',
    ('own', _LOCAL_DP): 'the mechanism clips and noises updates by itself',
    ('own', _SECURE): 'the secure sum adds updates up by itself, and shows nobody a single one',
    ('own', _SEVERAL): 'a client sends zeros for the models that it did not choose',
    ('compression', _CLIENT_DP): 'rounding could carry an update beyond the bound that the noise is calibrated to',
    ('compression', _LOCAL_DP): 'the noise on each update leaves nothing to compress',
    ('compression', _SECURE): 'hidden updates have a fixed point of their own, secure_bits, and hidden values cannot '
                              'be left out',
    ('top_k', _WORKER_DATA): 'what a client has not sent yet travels with its examples',
    ('update attack', _WORKER_DATA): 'an attacker\'s flag travels with its examples',
    ('data attack', _WORKER_DATA): 'the driver changes attackers\' examples, and these lie on the workers',
    ('canaries', _WORKER_DATA): 'a canary\'s mark travels with its examples, and a canary has no file on a worker',
    ('top_k', _KEEPING): 'the memory of what was not sent would have to be kept beside that state',
    ('rule', _SEVERAL): 'a client sends zeros for the models that it did not choose, and the rule takes them for '
                        'updates',
    ('limit', _SEVERAL): 'the bound would shorten a client\'s choice of a model together with its update',
    ('compression', _SEVERAL): 'rounding would blur a client\'s choice of a model, by which its update is divided',
    ('update attack', _SEVERAL): 'it would multiply the attacker\'s choice of a model together with its update',
}
_CLIENT_MECHANISMS = ('client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf', 'distributed_gaussian',
                      'distributed_skellam')
KEEPING_ALGORITHMS = ('scaffold', 'feddyn', 'fedper', 'fedrep', 'ditto', 'apfl', 'ifca')
_UPDATE_ATTACKS = ('sign_flip', 'scaled_update')


def check(config: configs.ExperimentConfig, *, data_placement: str) -> None:
  """Refuses what cannot work or would mislead, before anything is built.

  Raises:
    ValueError: With the settings and the reason.
  """
  environment = dict(_environment(config, data_placement))
  for kind, setting in _asked(config):
    for other, its_setting in environment.items():
      if (kind, other) in REFUSED:
        raise ValueError(f'{setting} does not go with {its_setting}: {REFUSED[kind, other]}.')
  _check_krum(config)


def _asked(config) -> Iterator[tuple[str, str]]:
  """Yields (kind, the flag that asks for it)."""
  aggregation = config.aggregation
  if aggregation.aggregator in rules.RULES:
    yield 'rule', f'aggregator={aggregation.aggregator}'
  if plugins.is_own(aggregation.aggregator, aggregation_config.AGGREGATORS):
    yield 'own', f'aggregator={plugins.shown(aggregation.aggregator)}'
  if aggregation.aggregator in limits.LIMITS:
    yield 'limit', f'aggregator={aggregation.aggregator}'
  if aggregation.compression != 'none':
    yield 'compression', f'compression={aggregation.compression}'
  if aggregation.compression == 'top_k':
    yield 'top_k', 'compression=top_k'
  if config.privacy.audit_canaries:
    yield 'canaries', f'audit_canaries={config.privacy.audit_canaries}'
  if config.attack.attack != 'none':
    yield ('update attack' if config.attack.attack in _UPDATE_ATTACKS else 'data attack',
           f'attack={config.attack.attack}')


def _environment(config, data_placement) -> Iterator[tuple[str, str]]:
  """Yields (what the run has, the flag that says so)."""
  privacy, secure_sum = config.privacy.privacy, config.secure.secure_sum
  if privacy in _CLIENT_MECHANISMS:
    yield _CLIENT_DP, f'privacy={privacy}'
  if privacy == 'local_dp':
    yield _LOCAL_DP, f'privacy={privacy}'
  if secure_sum != 'none':
    yield _SECURE, f'secure_sum={secure_sum}'
  if config.algorithm.algorithm in KEEPING_ALGORITHMS:
    yield _KEEPING, f'algorithm={config.algorithm.algorithm}'
  if config.algorithm.algorithm == 'ifca' and config.algorithm.ifca_clusters > 1:
    yield _SEVERAL, 'algorithm=ifca'
  if data_placement == 'worker':
    yield _WORKER_DATA, 'data_placement=worker'


def _check_krum(config):
  """Blanchard et al. 2017, proposition 1, asks for n > 2 f + 2."""
  clients, fraction = config.cohort.cohort_size, config.aggregation.tolerated_fraction
  if config.aggregation.aggregator in ('krum', 'multi_krum') and clients <= 2 * fraction * clients + 2:
    raise ValueError(f'aggregator={config.aggregation.aggregator} with tolerated_fraction={fraction} says nothing with '
                     f'cohort_size={clients}: it takes more than twice the tolerated clients and two; raise '
                     'cohort_size or lower tolerated_fraction.')
