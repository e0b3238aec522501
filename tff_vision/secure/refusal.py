"""What a secure sum refuses, and why, in one sentence: before a client hides anything, in the graph, or before opening.

A message that begins in a graph travels inside of an error of TensorFlow's; `ClearlyRefusing` takes it out again.
"""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_vision import protocols

# Assertions in the graph begin with these words and end with a full stop before what TensorFlow adds.
_SENTENCE = re.compile(r'secure sum: .*?[.](?=[\]\s]|$)', re.DOTALL)


class RefusedError(ValueError):
  """A round failed because hiding an update, or opening the sum, was refused; the state is as it was before."""


class ClearlyRefusing(protocols.WrappedProcess):
  """The same process, whose refusals are `RefusedError`s."""

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
      # The executor reports a failed assertion as an error of its own with the text somewhere inside.
      if (found := _SENTENCE.search(str(error))) is None:
        raise
      raise RefusedError(' '.join(found.group().split())) from None


def check_clients(clients: int, fewest: int) -> None:
  """Refuses to open a sum over fewer clients than `fewest`, but for nobody's.

  Raises:
    RefusedError: There are too few.
  """
  if 0 < clients < fewest:
    raise RefusedError(few_clients(clients, fewest))


def few_clients(clients: int | str, fewest: int) -> str:
  """Returns the sentence that refuses a sum of fewer clients than its noise was promised for."""
  return (f'secure sum: {clients} clients delivered, and {fewest} are needed for the noise that was promised '
          '(noise_survivors); nothing was opened, and the round can be run again.')


def cohort_assertion(clients: tf.Tensor, clients_max: int, fewest: int) -> tf.Operation:
  """Returns what fails where there are too many clients, too few, or one, whose sum is that client's update."""
  few = tf.debugging.Assert(tf.not_equal(clients, 1), [
      'secure sum: a cohort of one client; its sum would be that client\'s update.'])
  many = tf.debugging.Assert(clients <= clients_max, [
      f'secure sum: more than secure_clients_max={clients_max} clients; raise it, or sample smaller cohorts.'])
  # Of several assertions that fail, whichever ran first would be told: one client is none of these few.
  enough = tf.debugging.Assert(tf.logical_or(clients <= 1, clients >= fewest), [
      few_clients(f'fewer than {fewest}', fewest)])
  return tf.group(few, many, enough)
