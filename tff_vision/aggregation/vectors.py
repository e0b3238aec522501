"""What a client's vector is in a secure sum: the numbers that it tells, then its update; and how the sum is read."""

import collections
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_vision import configs, told
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import fixed_point, hidden_sum, whole_numbers


def encoding_of(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan) -> fixed_point.Encoding:
  """Returns how updates become integers: the plan's own way, or within its bound, if it has one."""
  return plan.sum_encoding() or fixed_point.Encoding(
      value_bits=config.secure_bits, value_range=plan.update_bound or config.secure_range,
      norm_bound=plan.update_bound)


def numbers_of(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, tells: told.Told
               ) -> whole_numbers.WholeNumbers:
  """Returns the numbers that travel beside an update in a secure sum: its weight, if it has one, and metrics."""
  quantities = dict(tells.quantities[plan.measured])
  if weighs(plan):
    quantities = {told.WEIGHT: told.whole(tells.largest_weight), **quantities}
  return whole_numbers.WholeNumbers(quantities=quantities, value_bits=config.secure_bits)


def weighs(plan: plan_lib.PrivacyPlan) -> bool:
  """Returns whether updates are weighed; where they are clipped for a promise, each counts as one."""
  return plan.update_bound is None


def encoding_beside(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, tells: told.Told
                    ) -> fixed_point.Encoding | whole_numbers.BesideUpdate:
  """Returns how a client's whole vector becomes integers: what it tells, then its update."""
  encoding, count = encoding_of(config, plan), numbers_of(config, plan, tells).length
  return whole_numbers.BesideUpdate(encoding=encoding, count=count) if count else encoding


def reader(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, tells: told.Told
           ) -> Callable[[np.ndarray, int], hidden_sum.Opened]:
  """Returns how an open sum is read: (sums, clients) -> `two_phase.Opened`."""
  numbers = numbers_of(config, plan, tells)

  def read(total, clients):
    sums = numbers.decode(total[:numbers.length], clients)
    vector = np.asarray(total[numbers.length:], np.float32)
    weight = sums.pop(told.WEIGHT, 0.0)
    if weighs(plan):
      vector = np.append(vector, np.float32(weight / tells.largest_weight))
    if not sums:
      return hidden_sum.Opened(vector=vector, weight=weight)
    summary = tells.summary({name: tf.constant(value, tf.float64)
                             for name, value in (*sums.items(), ('clients', clients))})
    return hidden_sum.Opened(vector=vector, weight=weight, measured=collections.OrderedDict(
        (name, value.numpy()) for name, value in summary.items()))

  return read
