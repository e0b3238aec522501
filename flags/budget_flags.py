"""Flags of `pipelines.privacy_budget`: one for each field of `tff_vision.privacy.budget_question.Budget`."""

from absl import flags

from tff_vision.privacy import budget_question

_POPULATION = flags.DEFINE_integer('population', None, 'Clients (or examples of one silo) to draw from.')
_COHORT_SIZE = flags.DEFINE_integer('cohort_size', None, 'Expected clients in a round (or examples in a batch).')
_ROUNDS = flags.DEFINE_integer('rounds', None, 'Rounds (or optimizer steps); left out, they are found.')
_NOISE_MULTIPLIER = flags.DEFINE_float(
    'noise_multiplier', None, 'Standard deviation of the noise over the clip norm; left out, it is found.')
_TARGET_EPSILON = flags.DEFINE_float('target_epsilon', None, 'The budget; left out, epsilon is found.')
_DELTA = flags.DEFINE_float('delta', None, 'The delta of (epsilon, delta); default population ** -1.1.')
_SAMPLING = flags.DEFINE_enum('sampling', budget_question.Budget.sampling, budget_question.SAMPLINGS,
                              'How a round draws its records.')
_UNIT = flags.DEFINE_enum('unit', budget_question.Budget.unit, budget_question.UNITS, 'What one record is.')
_SECURE_CLIENTS_MAX = flags.DEFINE_integer('secure_clients_max', None,
                                           'Rounds are secure sums of 2 to so many clients.')


def privacy_budget() -> budget_question.Budget:
  """Returns the question that the command line asks.

  Raises:
    ValueError: It is no legal question.
  """
  for flag in (_POPULATION, _COHORT_SIZE):
    if flag.value is None:
      raise ValueError(f'{flag.name} is missing.')
  return budget_question.Budget(
      population=_POPULATION.value, cohort_size=_COHORT_SIZE.value, rounds=_ROUNDS.value,
      noise_multiplier=_NOISE_MULTIPLIER.value, target_epsilon=_TARGET_EPSILON.value, delta=_DELTA.value,
      sampling=_SAMPLING.value, unit=_UNIT.value, secure_clients_max=_SECURE_CLIENTS_MAX.value)
