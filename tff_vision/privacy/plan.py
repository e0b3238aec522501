"""Privacy is one object: who is sampled, what is clipped, what noise is added, what it costs.

Because the sampler, the mechanism and the accounted event come from the same plan, the ledger cannot describe
another algorithm than the one that runs.
"""

from collections.abc import Sequence

from tff_vision import configs
from tff_vision.privacy import base, cohorts, correlated_plans, example_plan, local_plan, sampled_plans

PrivacyPlan = base.PrivacyPlan
NoPrivacy = base.NoPrivacy


def build_plan(privacy: configs.PrivacyConfig, cohort: configs.CohortConfig, *, population: int, rounds: int, seed: int,
               sizes: Sequence[int] = (), client: configs.ClientConfig | None = None) -> PrivacyPlan:
  """Returns the plan of a run of `rounds` rounds over `population` clients.

  Args:
    sizes: The number of examples of each client; read where the promise is to examples.
    client: Local batches and epochs; read where the promise is to examples.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  sampler = cohorts.build_cohort(cohort, population=population, seed=seed)
  if privacy.privacy == 'example_dp_sgd':
    return example_plan.build(privacy, sampler, sizes=tuple(sizes), rounds=rounds, client=client)
  return PLANS[privacy.privacy](privacy, sampler, population=population, rounds=rounds)


def _no_privacy(privacy, sampler, *, population, rounds):
  del privacy, population, rounds
  return base.NoPrivacy(sampler=sampler)


# Mechanisms that know clients only as a number; `example_dp_sgd` knows their sizes too.
PLANS = {
    'none': _no_privacy,
    'client_gaussian': sampled_plans.build,
    'client_adaptive': sampled_plans.build,
    'dp_ftrl': correlated_plans.build,
    'dp_mf': correlated_plans.build,
    'local_dp': local_plan.build,
}
