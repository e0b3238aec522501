"""Which rounds of a run are evaluated, and how many they are."""


def is_evaluated(round_num: int, every: int, last: int) -> bool:
  """Returns whether a round is evaluated: every `every`-th is, and the last."""
  return round_num % every == 0 or round_num == last


def count(last: int, every: int) -> int:
  """Returns how many of the rounds 1, ..., `last` are evaluated."""
  return -(-last // every)
