"""The history of a run's rounds, as far as it changes what they cost."""

import collections
import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
  """The history of a run's rounds so far, as far as it changes their privacy cost.

  Attributes:
    replayed: Rounds that were started more often than they count in the run, listed once for each extra start: they
      did not finish and ran again, or they ran again after they had finished. Where clients draw fresh noise, each
      extra start is a further release.
    again: Worker calls that were retried although the first call may have been answered: the round, and the clients
      that may have computed a second time. Recorded only where clients draw their own noise.
    delivered: For each finished round, the number of clients whose updates are in the sum.
    repeated: The rounds that ran again after they had finished, because a checkpoint was lost. The first output was
      public by then, so each is a further release, whoever adds the noise.
  """
  replayed: tuple[int, ...] = ()
  again: tuple[tuple[int, tuple[int, ...]], ...] = ()
  delivered: Mapping[int, int] = dataclasses.field(default_factory=dict)
  repeated: tuple[int, ...] = ()

  def sent(self, rounds: int) -> list[int]:
    """Returns the rounds in which clients sent noised updates up to round `rounds`, listed once for each sending."""
    return [*self._once(rounds), *self.replayed]

  def released(self, rounds: int) -> collections.Counter:
    """Returns how often the server released each round's output, up to round `rounds`."""
    return collections.Counter([*self._once(rounds), *self.repeated])

  def _once(self, rounds):
    # A run that lost checkpoints may already have finished rounds after round `rounds`.
    return [*range(1, rounds + 1), *(number for number in self.delivered if number > rounds)]
