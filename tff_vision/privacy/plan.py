"""Privacy is one object: who is sampled, what is clipped, what noise is added, what it costs.

Because the sampler, the mechanism and the accounted event come from the same plan, the ledger cannot describe
another algorithm than the one that runs.
"""

import dataclasses
import secrets
from collections.abc import Sequence

from tff_vision import configs
from tff_vision.accounting import cohort_sizes
from tff_vision.participation import cohort_sampling, device_rounds
from tff_vision.privacy.mechanisms import (
    base,
    correlated_plans,
    distributed_plan,
    example_plan,
    local_plan,
    sampled_plans,
)

PrivacyPlan = base.PrivacyPlan
Past = base.Past
NoPrivacy = base.NoPrivacy


def build_plan(privacy: configs.PrivacyConfig, cohort: configs.CohortConfig, *, population: int, rounds: int, seed: int,
               sizes: Sequence[int] = (), client: configs.ClientConfig | None = None,
               max_staleness: int | None = None, secret: bytes | None = None, optional: int = 0,
               cohort_size_bounds: cohort_sizes.Sizes = cohort_sizes.Sizes()) -> PrivacyPlan:  # noqa: B008  Frozen.
  """Returns the plan of a run of `rounds` rounds over `population` clients.

  Args:
    sizes: The number of examples of each client; read where the promise is to examples.
    client: Local batches and epochs; read where the promise is to examples.
    max_staleness: Updates that come late count in a later round, up to so many rounds; None: they are dropped.
    secret: 32 bytes of the run's own, see `base.Run`; None draws them. A run that goes on needs those it began with.
    optional: So many clients, the last ones, are canaries of an audit and may not exist.
    cohort_size_bounds: The sizes that a round may have, see `aggregation.secured.cohort_size_bounds`.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  if privacy.privacy not in _TOLERANT_OF_DEVICES:
    device_rounds.require_none(cohort, privacy=privacy.privacy, but=_GOES_WITH.get(privacy.privacy, ()))
  sampler = cohort_sampling.build_cohort(cohort, population=population, seed=seed, max_staleness=max_staleness,
                                         sizes=cohort_size_bounds)
  if optional and dataclasses.is_dataclass(sampler) and hasattr(sampler, 'optional'):
    sampler = dataclasses.replace(sampler, optional=optional)
  run = base.Run(population=population, cohort_size=cohort.cohort_size, rounds=rounds, sizes=tuple(sizes),
                 client=client or configs.ClientConfig(), secret=secret or secrets.token_bytes(32))
  return PLANS[privacy.privacy](privacy, sampler, run)


# Their cost counts on no chance, and on those alone who deliver.
_TOLERANT_OF_DEVICES = ('none', 'distributed_gaussian', 'distributed_skellam')
# Every client keeps a ledger of its own, of the rounds in which it took part: no chance of being drawn counts.
_GOES_WITH = {'example_dp_sgd': device_rounds.MEMBERSHIP}
PLANS = {
    'none': lambda privacy, sampler, run: base.NoPrivacy(sampler=sampler),
    'client_gaussian': sampled_plans.build,
    'client_adaptive': sampled_plans.build,
    'dp_ftrl': correlated_plans.build,
    'dp_mf': correlated_plans.build,
    'distributed_gaussian': distributed_plan.build,
    'distributed_skellam': distributed_plan.build,
    'example_dp_sgd': example_plan.build,
    'local_dp': local_plan.build,
}
