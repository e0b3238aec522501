"""From `secure_sum` to a process whose updates are hidden from whoever adds them up.

What a training loop gets looks like a TFF learning process in every mode. Where the sum is opened outside of the
TFF computation (key holder, masks), it is a `two_phase.TwoPhaseProcess`.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.aggregation import stack
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import (
  fixed_point,
  key_holder,
  key_holder_sum,
  mask_driver,
  masked_sum,
  parameters,
  refusal,
  report,
  threshold_sum,
  two_phase,
)

LearningProcess = tff.learning.templates.LearningProcess | refusal.ClearlyRefusing
ClientWork = tff.learning.templates.ClientWorkProcess


class BuildProcess(Protocol):
  """`learning.process.build_process` with everything but the aggregation given."""

  def __call__(self, *, aggregator: stack.Aggregator,
               client_work_layer: Callable[[ClientWork], ClientWork] = ...) -> tff.learning.templates.LearningProcess:
    ...


def build_process(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, build: BuildProcess, *,
                  largest_weight: float) -> LearningProcess:
  """Returns the learning process of a run.

  Args:
    build: Makes a process around an aggregator.
    largest_weight: The largest number of examples one client may contribute to a round; public.

  Raises:
    ValueError: The parameters leave no room; the message says what to change.
  """
  if config.secure_sum == 'none':
    return build(aggregator=stack.build_stack(plan))
  return refusal.ClearlyRefusing(SECURE_SUMS[config.secure_sum](config, plan, build, largest_weight))


def check_run(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, rounds: int, run_dir: pathlib.Path,
              runtime: str, data_placement: str) -> None:
  """Refuses a run that a secure sum cannot serve, before it begins.

  Raises:
    ValueError: A round's cohort is too large, or one client; the mode cannot run where the clients' work is done;
      or the key holder's folder lies in the run's.
  """
  if config.secure_sum == 'none':
    return
  if config.secure_sum == 'he' and runtime != 'local':
    raise ValueError(f'secure_sum=he cannot run with runtime={runtime}: its joint decryption depends on its encrypted '
                     'sum, and TFF splits a computation over workers at one sum; choose he_keyholder or masks.')
  if config.secure_sum == 'masks' and data_placement != 'driver':
    raise ValueError(f'secure_sum=masks cannot run with data_placement={data_placement}: mask seeds travel with the '
                     'examples; choose he_keyholder.')
  if config.key_holder_dir is not None and pathlib.Path(config.key_holder_dir).resolve().is_relative_to(
      run_dir.resolve()):
    raise ValueError(f'key_holder_dir={config.key_holder_dir!r} lies in run_dir={str(run_dir)!r}, which is the '
                     'server\'s: the secret key must not.')
  for round_num in range(1, rounds + 1):
    size = len(plan.cohort(round_num))
    if size > config.secure_clients_max:
      raise ValueError(f'secure_clients_max={config.secure_clients_max}, but round {round_num} has {size} clients: '
                       'raise secure_clients_max or lower cohort_size.')
    if size == 1:
      raise ValueError(f'secure_sum={config.secure_sum}, but round {round_num} has one client, whose sum would be its '
                       'update: raise cohort_size.')


def describe(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, parameters_count: int, clients: int
             ) -> Mapping[str, Any]:
  """Returns what was hidden, with which parameters, bytes and seconds, for report.json.

  Args:
    parameters_count: Trainable parameters of the model.
    clients: The (expected) cohort.
  """
  if config.secure_sum == 'none':
    return {'mode': 'none', 'scheme': 'none: whoever adds the updates up can read each one'}
  encoding = encoding_of(config, plan)
  length = parameters_count + (plan.update_bound is None)  # The weight's slot.
  if config.secure_sum == 'masks':
    found = report.describe_masks(encoding, length, clients=clients, clients_max=config.secure_clients_max)
  else:
    choose, holder = _BFV[config.secure_sum]
    params = choose(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
    found = report.describe_bfv(params, encoding, length, decrypted_by=holder)
  return {'mode': config.secure_sum, **found}


def encoding_of(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan) -> fixed_point.Encoding:
  """Returns how updates become integers: the plan's own way, or within its bound, if it has one."""
  return plan.sum_encoding() or fixed_point.Encoding(
      value_bits=config.secure_bits, value_range=plan.update_bound or config.secure_range,
      norm_bound=plan.update_bound)


def _threshold(config, plan, build, largest_weight):
  encoding = encoding_of(config, plan)
  params = parameters.threshold_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
  return build(aggregator=_stack(plan, threshold_sum.ThresholdSumFactory(params, encoding), encoding, largest_weight))


def _key_holder(config, plan, build, largest_weight):
  encoding = encoding_of(config, plan)
  params = parameters.key_holder_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
  holder = key_holder.KeyHolder(config.key_holder_dir, params)
  upload = key_holder_sum.EncryptedUploadFactory(params, encoding, holder.public_key)
  return two_phase.TwoPhaseProcess(
      hiding=build(aggregator=_stack(plan, upload, encoding, largest_weight)),
      opening=build(aggregator=_stack(plan, two_phase.OpenedSumFactory(), encoding, largest_weight)),
      shared_stack=True,
      client_data=lambda datasets: datasets,
      open_sum=lambda hidden, clients, length: holder.open_sum(hidden, clients, length=length, encoding=encoding))


def _masks(config, plan, build, largest_weight):
  encoding = encoding_of(config, plan)
  driver = mask_driver.MaskDriver(encoding)
  return masked_process(driver, encoding, plan, build, largest_weight=largest_weight,
                        clients_max=config.secure_clients_max)


def masked_process(driver: mask_driver.MaskDriver, encoding: fixed_point.Encoding, plan: plan_lib.PrivacyPlan,
                   build: BuildProcess, *, largest_weight: float, clients_max: int) -> two_phase.TwoPhaseProcess:
  """Returns a process over masked sums whose key agreement, and dropouts, `driver` plays."""
  weighted = plan.update_bound is None
  upload = masked_sum.MaskedUpdateFactory(
      masked_sum.MaskedUploadFactory(encoding, clients_max=clients_max),
      largest_weight=largest_weight if weighted else None, value_range=encoding.value_range)
  return two_phase.TwoPhaseProcess(
      hiding=build(aggregator=upload, client_work_layer=masked_sum.with_mask_rows),
      opening=build(aggregator=_stack(plan, two_phase.OpenedSumFactory(), encoding, largest_weight)),
      shared_stack=False,
      client_data=driver.client_data,
      open_sum=lambda hidden, clients, length: driver.open_sum(hidden, clients))


def _stack(plan, vector_sum, encoding, largest_weight):
  return stack.build_secure_stack(plan, tff.aggregators.concat_factory(vector_sum), largest_weight=largest_weight,
                                  value_range=encoding.value_range)


_BFV = {
    'he': (parameters.threshold_parameters, 'all clients of a round together, with keys of that round'),
    'he_keyholder': (parameters.key_holder_parameters, 'the key holder'),
}
SECURE_SUMS: Mapping[str, Callable[..., tff.learning.templates.LearningProcess | two_phase.TwoPhaseProcess]] = {
    'he': _threshold,
    'he_keyholder': _key_holder,
    'masks': _masks,
}
