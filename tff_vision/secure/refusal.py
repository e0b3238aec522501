"""One sentence where TFF would give a page: what a secure sum refused, and why."""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow_federated as tff

# Assertions in the graph begin with these words and end with a full stop before what TensorFlow adds.
_SENTENCE = re.compile(r'secure sum: .*?[.](?=[\]\s]|$)', re.DOTALL)


class RefusedError(ValueError):
  """A round failed because hiding an update, or opening the sum, was refused; the state is as it was before."""


class ClearlyRefusing:
  """The same process, whose refusals are `RefusedError`s."""

  def __init__(self, process):
    """Args: `process` is a learning process or `two_phase.TwoPhaseProcess`."""
    self._process = process
    self.initialize = process.initialize
    self.get_model_weights = process.get_model_weights
    self.set_model_weights = process.set_model_weights

  def next(self, state, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round.

    Raises:
      RefusedError: With the reason.
    """
    try:
      return self._process.next(state, client_datasets)
    except RefusedError:
      raise
    except Exception as error:
      # The executor reports a failed assertion as an error of its own with the text somewhere inside.
      if (found := _SENTENCE.search(str(error))) is None:
        raise
      raise RefusedError(' '.join(found.group().split())) from None
