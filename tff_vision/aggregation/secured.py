"""From `secure_sum` to a process whose updates are hidden from whoever adds them up.

What a training loop gets looks like a TFF learning process in every mode. Where updates are hidden, the sum is opened
outside of the TFF computation; see `two_phase`.
"""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow_federated as tff

from tff_vision import configs, told
from tff_vision.accounting import cohort_sizes
from tff_vision.aggregation import limits, stack, vectors
from tff_vision.participation import device_rounds
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import hidden_sum, hidden_update, refusal, report
from tff_vision.secure.encryption import encrypted_sum, joint_key, key_holder, parameters
from tff_vision.secure.masking import mask_driver, mask_round, masked_sum

LearningProcess = tff.learning.templates.LearningProcess | refusal.ClearlyRefusing
ClientWork = tff.learning.templates.ClientWorkProcess
_ROUNDS = 1000  # Of a run whose length is not known.


class BuildProcess(Protocol):
  """`learning.process.build_process` with everything but the aggregation given."""

  def __call__(self, *, aggregator: stack.Aggregator,
               client_work_layer: Callable[[ClientWork], ClientWork] = ..., beside: told.Beside = ...
               ) -> tff.learning.templates.LearningProcess:
    ...


class Place(Protocol):
  """Where the clients' work is done, such as what `runtime.runtimes.open_runtime` yields."""
  with_parties: joint_key.WithParties
  WorkerLost: type[Exception]

  def limited(self, clients_per_call: int) -> contextlib.AbstractContextManager[None]:
    """Bounds the clients of one call of the computations inside."""


def build_process(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, build: BuildProcess, *,
                  tells: told.Told, place: Place | None = None, rounds: int = _ROUNDS,
                  aggregation: configs.AggregationConfig = configs.AggregationConfig()  # noqa: B008  Frozen.
                  ) -> LearningProcess:
  """Returns the learning process of a run.

  Args:
    build: Makes a process around an aggregator.
    tells: What a client can tell beside its update, and its largest weight; public. The plan says what of it may
      leave: in the clear where there is no secure sum, else inside of it.
    place: The open runtime. Encryption needs it; with masks, or clients that keep something, it says which can be
      reached.
    rounds: Of the run: so many sums are opened.
    aggregation: Of it, a secure sum takes what is done to each update by itself.

  Raises:
    ValueError: The parameters leave no room; the message says what to change.
  """
  if config.secure_sum == 'none':
    made = build(aggregator=stack.build_stack(plan, aggregation), beside=told.Beside(measured=plan.measured))
    # A computation that returns what its clients keep is over all of them, or fails.
    keeps = not isinstance(made, tff.learning.templates.LearningProcess)
    return _Reachable(made, place) if keeps and place is not None else made

  def build_limited(*, aggregator, beside, client_work_layer=lambda client_work: client_work):
    return build(aggregator=limits.limited(aggregator, aggregation), client_work_layer=client_work_layer,
                 beside=beside)

  return refusal.ClearlyRefusing(SECURE_SUMS[config.secure_sum](config, plan, build_limited, tells, place, rounds))


def check_run(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, rounds: int, run_dir: pathlib.Path
              ) -> None:
  """Refuses a run that a secure sum cannot serve, before it begins.

  No cohort that was drawn is looked at: whoever launches again for another draw conditions it, see
  `cohort_size_bounds`. A schedule that a file holds is another matter.

  Raises:
    ValueError: The key holder's folder lies in the run's, or the schedule leaves a client alone.
  """
  if config.key_holder_dir is not None and pathlib.Path(config.key_holder_dir).resolve().is_relative_to(
      run_dir.resolve()):
    raise ValueError(f'key_holder_dir={config.key_holder_dir!r} lies in run_dir={str(run_dir)!r}, which is the '
                     'server\'s: the secret key must not.')
  sampler = getattr(plan, 'sampler', None)
  if config.secure_sum == 'none' or not isinstance(sampler, device_rounds.Participation):
    return
  for round_num in range(1, rounds + 1):
    if sampler.scheduled(round_num) == 1:
      raise ValueError(f'secure_sum={config.secure_sum}, but by the availability trace round {round_num} has one '
                       'client, whose sum would be its update: change the schedule.')


def cohort_size_bounds(config: configs.SecureConfig) -> cohort_sizes.Sizes:
  """Returns the sizes of cohorts that the secure sum serves: the sampler keeps to them, and they are accounted for."""
  if config.secure_sum == 'none':
    return cohort_sizes.Sizes()
  return cohort_sizes.Sizes(least=2, most=config.secure_clients_max)


def describe(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, parameters_count: int, clients: int,
             tells: told.Told, on_workers: bool = False, kept: bool = False, rounds: int = _ROUNDS
             ) -> Mapping[str, Any]:
  """Returns what was hidden, with which parameters, bytes and seconds, for report.json.

  Args:
    parameters_count: How many numbers a client sends: the model's trainable parameters, and what its algorithm adds.
    clients: The (expected) cohort.
    tells: As `build_process` takes it.
    kept: Whether clients keep something between rounds.
    on_workers: Whether other processes than the coordinator's own ran the clients.
    rounds: Of the run.
  """
  if config.secure_sum == 'none':
    return {'mode': 'none', 'scheme': 'none: whoever adds the updates up can read each one'}
  encoding, numbers = vectors.encoding_of(config, plan), vectors.numbers_of(config, plan, tells)
  length = parameters_count + numbers.length
  if config.secure_sum == 'masks':
    found = report.describe_masks(encoding, length, clients=clients, clients_max=config.secure_clients_max)
  else:
    choose, holder = _BFV[config.secure_sum]
    found = report.describe_bfv(choose(config, length, rounds), encoding, length, decrypted_by=holder, rounds=rounds)
  return {'mode': config.secure_sum, **found,
          **report.describe_fields(encoding, numbers, parameters_count, kept=kept, known={
              told.WEIGHT, *(name for names in tells.quantities.values() for name in names)}),
          'simulation': report.ON_WORKERS[config.secure_sum] if on_workers else report.SIMULATION}


def _hiding(upload, config, plan, build, tells, **layers):
  """Returns the process of the clients' part: what `upload` hides is an update and what is told beside it."""
  factory = hidden_update.HiddenUpdateFactory(
      upload, numbers=vectors.numbers_of(config, plan, tells),
      largest_weight=tells.largest_weight if vectors.weighs(plan) else None)
  made = build(aggregator=factory, beside=told.Beside(measured=plan.measured, hidden=True, weighs=vectors.weighs(plan)),
               **layers)
  # For its metrics alone, unless clients keep something, which comes back with them.
  return hidden_sum.MeasuredOnly(made) if isinstance(made, tff.learning.templates.LearningProcess) else made


def _opening(plan, build, tells):
  """Returns the process of what follows the sum, whose state is the run's, and the length of an update."""
  opened = hidden_sum.OpenedSumFactory()
  made = build(
      aggregator=stack.build_secure_stack(plan, tff.aggregators.concat_factory(opened),
                                          largest_weight=tells.largest_weight),
      beside=told.Beside(measured=told.Measured.NOTHING, weighs=vectors.weighs(plan)))
  return made, opened.length - vectors.weighs(plan)


def _joint_key(config, plan, build, tells, place, rounds):
  params, processes = _encrypted(config, plan, build, tells, place, rounds)
  keys = joint_key.JointKeys(params, vectors.encoding_beside(config, plan, tells))
  return joint_key.JointKeyProcess(keys, place.with_parties, read=vectors.reader(config, plan, tells),
                                   fewest=plan.fewest_clients, **processes)


def _key_holder(config, plan, build, tells, place, rounds):
  encoding = vectors.encoding_beside(config, plan, tells)
  params, processes = _encrypted(config, plan, build, tells, place, rounds)
  holder = key_holder.KeyHolder(config.key_holder_dir, params, fewest=plan.fewest_clients)
  return hidden_sum.TwoPhaseProcess(
      **processes, read=vectors.reader(config, plan, tells), fewest=plan.fewest_clients,
      hiding_state=encrypted_sum.key_state(holder.public_key), client_data=lambda datasets: datasets,
      open_sum=lambda hidden, clients, length: holder.open_sum(hidden, clients, length=length, encoding=encoding))


def _encrypted(config, plan, build, tells, place, rounds):
  """Returns the parameters, the process whose sum adds ciphertexts, and the one of what follows."""
  opening, update_length = _opening(plan, build, tells)
  length = update_length + vectors.numbers_of(config, plan, tells).length
  choose, _ = _BFV[config.secure_sum]
  params = choose(config, length, rounds)
  upload = encrypted_sum.EncryptedSumFactory(params, vectors.encoding_beside(config, plan, tells),
                                             fewest=plan.fewest_clients)
  hiding = _hiding(upload, config, plan, build, tells)
  limited = functools.partial(place.limited, encrypted_sum.clients_per_call(params, length))
  return params, {'hiding': _Limited(hiding, limited), 'opening': opening}


class _Limited:
  """A process whose calls to workers are small enough for their memory."""

  def __init__(self, process, limited):
    self._process = process
    self._limited = limited

  def next(self, state: Any, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:
    with self._limited():
      return self._process.next(state, client_datasets)


def _masks(config, plan, build, tells, place, rounds):
  del rounds
  masked = masked_process(config, plan, build, tells)
  return masked if place is None else _Reachable(masked, place)


class _Reachable:
  """A process over the clients that can be reached; a round in which one is lost unnoticed begins again."""

  def __init__(self, process, place):
    self._process = process
    self._place = place
    self.initialize = process.initialize
    self.get_model_weights = process.get_model_weights
    self.set_model_weights = process.set_model_weights

  def next(self, state: Any, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:

    def run(parties):
      positions = [party.position for party in parties]
      try:
        return hidden_sum.for_whole_cohort(
            self._process.next(state, [client_datasets[position] for position in positions]), positions,
            len(client_datasets))
      except mask_driver.LostClientsError as error:
        raise self._place.WorkerLost(str(error)) from error

    return self._place.with_parties(len(client_datasets), run)


def masked_process(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, build: BuildProcess, tells: told.Told, *,
                   dropouts: Callable[[int], mask_round.Dropouts] = lambda round_num: mask_round.Dropouts()
                   ) -> hidden_sum.TwoPhaseProcess:
  """Returns a process over masked sums whose key agreement, and dropouts, the driver plays."""
  encoding, fewest = vectors.encoding_beside(config, plan, tells), plan.fewest_clients
  driver = mask_driver.MaskDriver(encoding, dropouts=dropouts, fewest=fewest)
  upload = masked_sum.MaskedUploadFactory(encoding, clients_max=config.secure_clients_max, fewest=fewest)
  opening, _ = _opening(plan, build, tells)
  return hidden_sum.TwoPhaseProcess(
      hiding=_hiding(upload, config, plan, build, tells, client_work_layer=masked_sum.with_mask_rows),
      opening=opening, hiding_state=hidden_sum.opened_state(), read=vectors.reader(config, plan, tells), fewest=fewest,
      client_data=driver.client_data, open_sum=lambda hidden, clients, length: driver.open_sum(hidden, clients))


def _joint_parameters(config, length, rounds):
  return parameters.threshold_parameters(
      clients_max=config.secure_clients_max, value_bits=config.secure_bits, length=length, rounds=rounds,
      statistical_bits=config.secure_statistical_bits)


def _holder_parameters(config, length, rounds):
  del length, rounds
  return parameters.key_holder_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)


_BFV = {
    'he': (_joint_parameters, 'all clients of a round together, with keys of that round'),
    'he_keyholder': (_holder_parameters, 'the key holder'),
}
SECURE_SUMS: Mapping[str, Callable[..., hidden_sum.TwoPhaseProcess | joint_key.JointKeyProcess]] = {
    'he': _joint_key,
    'he_keyholder': _key_holder,
    'masks': _masks,
}
