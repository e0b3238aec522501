"""The one place where the order of aggregation layers is decided."""

import tensorflow_federated as tff

from tff_vision.privacy import plan as plan_lib


def build_stack(plan: plan_lib.PrivacyPlan
                ) -> tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory:
  """Returns the aggregator of a run, built inside out.

  Without a mechanism: the mean weighted by examples. With one: the plan's own clipping, sum, noise and fixed
  denominator, unweighted, because weights would be data-dependent sensitivities.
  """
  if (private := plan.aggregator()) is not None:
    return private
  # A cohort may be empty, or every client may hold weight zero: then the model stays as it is.
  return tff.aggregators.MeanFactory(no_nan_division=True)
