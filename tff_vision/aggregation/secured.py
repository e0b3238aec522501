"""From `secure_sum` to a process whose updates are hidden from whoever adds them up.

A training loop gets a `protocols.Process` in every mode. Where updates are hidden, the sum is opened outside of the TFF
computation; see `secure.hidden_sum`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_vision import catalogue, configs, protocols, told
from tff_vision.accounting import cohort_sizes
from tff_vision.aggregation import limits, stack
from tff_vision.participation import device_rounds
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import fixed_point, hidden_sum, hidden_vector, refusal, report
from tff_vision.secure.encryption import encrypted_sum, held_key, joint_key, key_holder, parameters, round_keys
from tff_vision.secure.masking import mask_round, masked_sum, site_round

_ROUNDS = 1000  # Assumed where the length of the run is not known.


def build_process(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, build: protocols.BuildProcess, *,
                  tells: told.Told, place: protocols.Place | None = None, rounds: int = _ROUNDS,
                  aggregation: configs.AggregationConfig = configs.AggregationConfig()  # noqa: B008  Frozen.
                  ) -> protocols.Process:
  """Returns the learning process of a run.

  Args:
    build: Builds a process around an aggregator.
    tells: The numbers that a client can report beside its update, and its largest weight; public. The plan says which
      of them may leave the client: in the clear without a secure sum, otherwise inside of it.
    place: The open runtime. Encryption needs it. With masks, or with clients that keep state, it says which clients can
      be reached.
    rounds: The rounds of the run, which is the number of sums opened.
    aggregation: A secure sum uses only the operations on single updates.

  Raises:
    ValueError: The parameters leave no room, or the aggregation needs single updates; the message says what to change.
  """
  if config.secure_sum == 'none':
    made = build(aggregator=stack.build_stack(plan, aggregation), beside=told.Beside(measured=plan.measured))
    # A computation that returns the clients' kept state covers all of them, or fails.
    return _Reachable(made, place) if made.keeps and place is not None else made
  stack.require_sum(aggregation, f'secure_sum={config.secure_sum}, which adds updates up by itself')
  run = _Run(config=config, plan=plan, build=build, vector=vector_of(config, plan, tells), place=place, rounds=rounds,
             aggregation=aggregation)
  return refusal.ClearlyRefusing(SECURE_SUMS[config.secure_sum](run))


def vector_of(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, tells: told.Told) -> hidden_vector.HiddenVector:
  """Returns the vector that a client hides: its weight, if it has one, the numbers that it reports, and its update.

  Where updates are clipped for a privacy promise, each counts as one. Updates become integers by the plan's own
  encoding, or within the plan's bound, if it has one.
  """
  return hidden_vector.HiddenVector(
      encoding=_encoding_of(config, plan), value_bits=config.secure_bits, quantities=tells.quantities[plan.measured],
      summary=tells.summary,
      largest_weight=tells.largest_weight if plan.update_bound is None else None)


def _encoding_of(config, plan):
  own, bound = plan.sum_encoding(), plan.update_bound
  if own is not None:
    return own
  return fixed_point.Encoding(value_bits=config.secure_bits, norm_bound=bound,
                              value_range=config.secure_range if bound is None else bound)


def check_run(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, rounds: int, run_dir: pathlib.Path
              ) -> None:
  """Refuses, before it begins, a run that a secure sum cannot serve.

  Cohorts that were drawn are not inspected: whoever then relaunched the run to get another draw would condition the
  sampling; see `cohort_size_bounds`. A schedule from a file is inspected.

  Raises:
    ValueError: The key holder's folder lies in the run's folder, or the schedule has a round with a single client.
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
  """Returns the cohort sizes that the secure sum serves; sampling keeps to them, and accounting considers them."""
  if config.secure_sum == 'none':
    return cohort_sizes.Sizes()
  return cohort_sizes.Sizes(least=2, most=config.secure_clients_max)


def describe(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, *, parameters_count: int, clients: int,
             tells: told.Told, on_workers: bool = False, kept: bool = False, rounds: int = _ROUNDS,
             plays: Collection[str] = ()) -> Mapping[str, Any]:
  """Returns for report.json what was hidden, with its parameters, bytes and seconds.

  Args:
    parameters_count: The count of numbers that a client sends: trainable parameters, and what the algorithm adds.
    clients: The (expected) cohort size.
    tells: As in `build_process`.
    kept: Whether clients keep state between rounds.
    on_workers: Whether processes other than the coordinator's own ran the clients.
    rounds: The rounds of the run.
    plays: The protocols of which sites play their half themselves, as `protocols.Place` says.
  """
  if config.secure_sum == 'none':
    return {'mode': 'none', 'scheme': 'none: whoever adds the updates up can read each one'}
  vector = vector_of(config, plan, tells)
  encoding, length = vector.encoding, vector.length(parameters_count)
  if config.secure_sum == 'masks':
    found = report.describe_masks(encoding, length, clients=clients, clients_max=config.secure_clients_max,
                                  played=config.secure_sum in plays)
  else:
    choose, holder = _BFV[config.secure_sum]
    found = report.describe_bfv(choose(config, length, rounds), encoding, length, decrypted_by=holder, rounds=rounds)
  return {'mode': config.secure_sum, **found,
          **report.describe_fields(encoding, vector.numbers, parameters_count, kept=kept, known={
              told.WEIGHT, *(name for names in tells.quantities.values() for name in names)}),
          'simulation': report.on_workers(config, plays) if on_workers else report.SIMULATION}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
  """The parts from which the process of a secure sum is built.

  Attributes:
    vector: The vector that a client hides.
    place: The open runtime; None where masks do not need one.
  """
  config: configs.SecureConfig
  plan: plan_lib.PrivacyPlan
  build: protocols.BuildProcess
  vector: hidden_vector.HiddenVector
  place: protocols.Place | None
  rounds: int
  aggregation: configs.AggregationConfig

  def opening(self) -> hidden_sum.Opening:
    """Returns the process of what follows the sum; its state is the run's state."""
    aggregator, place = stack.build_secure_stack(
        self.plan, tff.aggregators.concat_factory(hidden_sum.OpenedSumFactory()), self.vector)
    return hidden_sum.Opening(self._around(
        aggregator, told.Beside(measured=told.Measured.NOTHING, weighs=self.vector.weighs)), place)

  def hiding(self, upload: hidden_vector.Upload, *, layer: protocols.Layer = protocols.unchanged,
             clients_per_call: int | None = None) -> hidden_sum.Hiding:
    """Returns the process of the clients' part, around a sum that hides vectors.

    Args:
      layer: Wraps the client work.
      clients_per_call: The number of clients that may hide at a time; None: all of them.
    """
    made = self._around(
        hidden_vector.HidingFactory(upload, self.vector),
        told.Beside(measured=self.plan.measured, hidden=True, weighs=self.vector.weighs), layer)
    if clients_per_call is None or self.place is None:
      return hidden_sum.Hiding(made)
    return hidden_sum.Hiding(made, functools.partial(self.place.limited, clients_per_call))

  def encrypting(self, opening: hidden_sum.Opening) -> tuple[parameters.BfvParameters, hidden_sum.Hiding]:
    """Returns the encryption parameters, and the process whose sum adds ciphertexts."""
    length = self.vector.length(opening.sent_length)
    choose, _ = _BFV[self.config.secure_sum]
    params = choose(self.config, length, self.rounds)
    upload = encrypted_sum.EncryptedSumFactory(params, self.vector.vector_encoding, fewest=self.plan.fewest_clients)
    return params, self.hiding(upload, clients_per_call=encrypted_sum.clients_per_call(params, length))

  def _around(self, aggregator, beside, layer=protocols.unchanged):
    return self.build(aggregator=limits.limited(aggregator, self.aggregation), beside=beside, client_work_layer=layer)


def joint_key_process(run):
  opening = run.opening()
  params, hiding = run.encrypting(opening)
  return _under(joint_key.JointKeys(params, run.vector.vector_encoding), run, hiding, opening)


def _under(keys, run, hiding, opening):
  """Returns the process whose rounds have keys of their own."""
  return round_keys.RoundKeysProcess(keys, run.place, hiding=hiding, opening=opening, read=run.vector.opened,
                                     fewest=run.plan.fewest_clients)


def key_holder_process(run):
  opening = run.opening()
  params, hiding = run.encrypting(opening)
  if run.config.key_holder is not None:
    keys = held_key.HeldKeys(run.place.key_holder(run.config.key_holder), params, run.vector.vector_encoding)
    return _under(keys, run, hiding, opening)
  holder = key_holder.KeyHolder(run.config.key_holder_dir, params, fewest=run.plan.fewest_clients)
  return hidden_sum.HiddenSumProcess(
      hiding=hiding, opening=opening, hiding_state=encrypted_sum.key_state(holder.public_key), read=run.vector.opened,
      client_data=list, fewest=run.plan.fewest_clients,
      open_sum=lambda hidden, clients, length: holder.open_sum(hidden, clients, length=length,
                                                               encoding=run.vector.vector_encoding))


def masks_process(run):
  masked, driver = _masked(run)
  return masked if run.place is None else _Reachable(masked, run.place, driver.over)


def masked_process(config: configs.SecureConfig, plan: plan_lib.PrivacyPlan, build: protocols.BuildProcess,
                   tells: told.Told, *, dropouts: Callable[[int], mask_round.Dropouts] = mask_round.no_dropouts
                   ) -> hidden_sum.HiddenSumProcess:
  """Returns a process over masked sums; the driver simulates the key agreement and the dropouts."""
  return _masked(_Run(config=config, plan=plan, build=build, vector=vector_of(config, plan, tells), place=None,
                      rounds=_ROUNDS, aggregation=configs.AggregationConfig()), dropouts)[0]


def _masked(run, dropouts=mask_round.no_dropouts):
  opening, encoding, fewest = run.opening(), run.vector.vector_encoding, run.plan.fewest_clients
  driver = site_round.MaskDriver(encoding, dropouts=dropouts, fewest=fewest)
  upload = masked_sum.MaskedUploadFactory(encoding, clients_max=run.config.secure_clients_max, fewest=fewest)
  return hidden_sum.HiddenSumProcess(
      hiding=run.hiding(upload, layer=masked_sum.with_mask_rows), opening=opening,
      hiding_state=hidden_sum.opened_state(), read=run.vector.opened, fewest=fewest, client_data=driver.client_data,
      open_sum=lambda hidden, clients, length: driver.open_sum(hidden, clients)), driver


class _Reachable(protocols.WrappedProcess):
  """A process over the reachable clients; a round that loses a client without notice begins again."""

  def __init__(self, process: protocols.Process, place: protocols.Place,
               over: Callable[[Sequence[protocols.Party]], None] = lambda parties: None):
    """Args: `over` is told of the clients of a round before it begins."""
    super().__init__(process)
    self._place = place
    self._over = over

  def next(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:

    def run(parties: Sequence[protocols.Party]) -> protocols.RoundOutput:
      positions = [party.position for party in parties]
      self._over(parties)
      try:
        return self._process.next(state, [data[position] for position in positions]).over(positions, len(data))
      except mask_round.LostClientsError as error:
        raise self._place.WorkerLost(str(error)) from error

    return self._place.with_parties(len(data), run)


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
SECURE_SUMS: Mapping[str, Callable[[_Run], protocols.Process]] = catalogue.Loaded('secure_sum')
