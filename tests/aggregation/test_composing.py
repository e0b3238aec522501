"""What does not compose is refused with its reason, and nothing else is."""

import pytest

from tests import tiny
from tff_vision import configs
from tff_vision.aggregation import composing
from tff_vision.learning import learning_process

KINDS = {
    'rule': {'aggregation': configs.AggregationConfig(aggregator='median')},
    'compression': {'aggregation': configs.AggregationConfig(compression='uniform')},
    'top_k': {'aggregation': configs.AggregationConfig(compression='top_k')},
    'update attack': {'attack': configs.AttackConfig(attack='sign_flip')},
    'data attack': {'attack': configs.AttackConfig(attack='label_flip')},
    'limit': {'aggregation': configs.AggregationConfig(aggregator='norm_clipping', update_norm_bound=1.0)},
}
PRIVATE = {'clip_norm': 1.0, 'noise_multiplier': 1.0}
RUNS = {
    'client-level differential privacy': {'privacy': configs.PrivacyConfig(privacy='client_gaussian', **PRIVATE)},
    'local differential privacy': {'privacy': configs.PrivacyConfig(privacy='local_dp', **PRIVATE)},
    'a secure sum': {'secure': configs.SecureConfig(secure_sum='masks')},
    'data on the workers': {},
    'an algorithm whose clients keep state': {'algorithm': configs.AlgorithmConfig(algorithm='scaffold')},
    'an algorithm with several models': {'algorithm': configs.AlgorithmConfig(algorithm='ifca')},
    'example-level differential privacy': {'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', **PRIVATE)},
}
# Asked for by the same flag as another kind.
ALSO = {'top_k': ('compression',)}


def test_the_algorithms_that_keep_state_are_those():
  task = tiny.task(tiny.two_layers)
  keep = [name for name, make in learning_process.ALGORITHMS.items()
          if make(task, configs.AlgorithmConfig(algorithm=name), configs.ClientConfig()).keeps]
  assert set(keep) == set(composing.KEEPING_ALGORITHMS)


@pytest.mark.parametrize('run', RUNS)
@pytest.mark.parametrize('kind', KINDS)
def test_the_table_is_what_happens(kind, run):
  config = configs.ExperimentConfig(**KINDS[kind], **RUNS[run])
  placement = 'worker' if run == 'data on the workers' else 'driver'
  reasons = [composing.REFUSED[name, run] for name in (kind, *ALSO.get(kind, ())) if (name, run) in composing.REFUSED]
  if not reasons:
    composing.check(config, data_placement=placement)
    return
  with pytest.raises(ValueError) as error:
    composing.check(config, data_placement=placement)
  assert any(reason in str(error.value) for reason in reasons) and 'does not go with' in str(error.value)


def test_krum_needs_more_clients_than_twice_the_attackers_and_two():
  for size, fraction, legal in (6, 0.4, False), (10, 0.4, False), (11, 0.4, True), (3, 0.2, False), (4, 0.2, True):
    config = configs.ExperimentConfig(
        cohort=configs.CohortConfig(cohort_size=size),
        aggregation=configs.AggregationConfig(aggregator='krum', tolerated_fraction=fraction))
    if legal:
      composing.check(config, data_placement='driver')
    else:
      with pytest.raises(ValueError, match='cohort_size'):
        composing.check(config, data_placement='driver')
