"""Who observes what a run releases, before it is saved."""

from collections.abc import Sequence
from typing import Protocol

from tff_vision import protocols


class Observer(Protocol):
  """Observes what a run releases; see `audit.run_audit.RunAudit`."""

  def released(self, round_num: int, before: protocols.Weights, output: protocols.RoundOutput, after: protocols.Weights,
               cohort: Sequence[int]) -> None:
    """Receives the model of a round before it is saved in a checkpoint.

    Args:
      round_num: The number of the round.
      before: The weights at the beginning of the round.
      output: What the process returned.
      after: The weights at the end of the round.
      cohort: The clients whose updates are in the model.
    """
