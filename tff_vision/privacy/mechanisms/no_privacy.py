"""Training without a promise."""

import dataclasses

from tff_vision import configs, told
from tff_vision.accounting import ledger
from tff_vision.participation import cohort_sampling, late_arrivals
from tff_vision.privacy.mechanisms import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPrivacy(base.PrivacyPlan):
  """A plan without any privacy guarantee."""
  sampler: cohort_sampling.Cohort

  def cohort(self, round_num):
    return self.sampler(round_num)

  def aggregator(self, sum_factory):
    del sum_factory
    return base.NO_AGGREGATOR

  @property
  def update_bound(self):
    return None

  def ledger(self, rounds):
    del rounds
    return ledger.NoGuarantee()

  @property
  def releases_exact_metrics(self):
    return True

  @property
  def measured(self):
    return told.Measured.EXACT

  def attendance(self, round_num):
    return base.attendance_of(self.sampler, round_num)

  def begun(self, client, round_num):
    if isinstance(self.sampler, late_arrivals.LateArrivals):
      return self.sampler.begun(round_num)[client]
    return round_num


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> NoPrivacy:
  """Returns the plan of a run without a privacy guarantee."""
  del privacy, run
  return NoPrivacy(sampler=sampler)
