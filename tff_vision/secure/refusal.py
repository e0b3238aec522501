"""What a secure sum refuses, and why, in one sentence: before a client hides anything, in the graph, or before opening.

A message that is raised in a graph arrives inside of a TensorFlow error; `ClearlyRefusing` extracts it.
"""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_vision import protocols

# Assertions in the graph begin with these words and end with a full stop, before the text that TensorFlow appends.
_SENTENCE = re.compile(r'secure sum: .*?[.](?=[\]\s]|$)', re.DOTALL)


class RefusedError(ValueError):
  """A round failed because hiding an update, or opening the sum, was refused; the state is unchanged."""


class ClearlyRefusing(protocols.WrappedProcess):
  """The same process, but its refusals are raised as `RefusedError`."""

  def next(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:
    """Runs one round.

    Raises:
      RefusedError: With the reason.
    """
    try:
      return self._process.next(state, data)
    except RefusedError:
      raise
    except Exception as error:
      # The executor reports a failed assertion as its own error, which contains the text.
      if (found := _SENTENCE.search(str(error))) is None:
        raise
      raise RefusedError(' '.join(found.group().split())) from None


def check_clients(clients: int, fewest: int) -> None:
  """Refuses to open a sum over fewer clients than `fewest`, except a sum over no clients.

  Raises:
    RefusedError: There are too few.
  """
  if 0 < clients < fewest:
    raise RefusedError(few_clients(clients, fewest))


def few_clients(clients: int | str, fewest: int) -> str:
  """Returns the sentence that refuses a sum with fewer clients than its promised noise needs."""
  return (f'secure sum: {clients} clients delivered, and {fewest} are needed for the noise that was promised '
          '(noise_survivors); nothing was opened, and the round can be run again.')


def cohort_assertion(clients: tf.Tensor, clients_max: int, fewest: int) -> tf.Operation:
  """Returns an assertion that fails for too many clients, too few, or one, because that sum is the client's update."""
  few = tf.debugging.Assert(tf.not_equal(clients, 1), [
      'secure sum: a cohort of one client; its sum would be that client\'s update.'])
  many = tf.debugging.Assert(clients <= clients_max, [
      f'secure sum: more than secure_clients_max={clients_max} clients; raise it, or sample smaller cohorts.'])
  # If several assertions fail, the first one run is reported; so one client does not count as too few here.
  enough = tf.debugging.Assert(tf.logical_or(clients <= 1, clients >= fewest), [
      few_clients(f'fewer than {fewest}', fewest)])
  return tf.group(few, many, enough)
