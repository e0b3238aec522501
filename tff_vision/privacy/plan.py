"""The privacy plan: sampling, clipping, noise and cost in one object.

The sampler, the mechanism and the accounted event come from the same plan. So the ledger always describes the
algorithm that runs.
"""

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tff_vision import catalogue, configs
from tff_vision.accounting import cohort_sizes
from tff_vision.configs import compatibility
from tff_vision.participation import cohort_sampling
from tff_vision.privacy.mechanisms import base, no_privacy

PrivacyPlan = base.PrivacyPlan
Past = base.Past
NoPrivacy = no_privacy.NoPrivacy


def build_plan(privacy: configs.PrivacyConfig, cohort: configs.CohortConfig, *, population: int, rounds: int, seed: int,
               sizes: Sequence[int] | np.ndarray = (), client: configs.ClientConfig | None = None,
               max_staleness: int | None = None, secret: bytes | None = None, optional: int = 0,
               cohort_size_bounds: cohort_sizes.Sizes = cohort_sizes.Sizes()) -> PrivacyPlan:  # noqa: B008  Frozen.
  """Returns the plan of a run of `rounds` rounds over `population` clients.

  Args:
    sizes: The number of examples of each client; used only for example-level privacy.
    client: Local batches and epochs; used only for example-level privacy.
    max_staleness: Late updates count in a later round, up to this many rounds later; None: they are dropped.
    secret: The run's 32 secret bytes, see `base.Run`; None draws them. A resumed run needs the bytes it started with.
    optional: The number of clients, at the end of the list, that are audit canaries and may not exist.
    cohort_size_bounds: The allowed cohort sizes, see `aggregation.secured.cohort_size_bounds`.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  compatibility.check(privacy, cohort)
  sampler = cohort_sampling.build_cohort(cohort, population=population, seed=seed, max_staleness=max_staleness,
                                         sizes=cohort_size_bounds)
  if optional and dataclasses.is_dataclass(sampler) and hasattr(sampler, 'optional'):
    sampler = dataclasses.replace(sampler, optional=optional)
  run = base.Run(population=population, cohort_size=cohort.cohort_size, rounds=rounds, sizes=sizes,
                 client=client or configs.ClientConfig(), secret=secret or secrets.token_bytes(32))
  return PLANS[privacy.privacy](privacy, sampler, run)


PLANS: Mapping[str, Callable[[configs.PrivacyConfig, cohort_sampling.Cohort, base.Run], PrivacyPlan]] = (
    catalogue.Loaded('privacy'))
