"""What TensorFlow says of an error, without what it writes around it."""

import tensorflow as tf

# What stands in front of an error of a graph that was not made in this process.
_WHERE = ('Graph execution error:', 'Detected at node', '<stack traces unavailable>')


def by_tensorflow(error: tf.errors.OpError) -> str:
  """Returns the message without where the node was made."""
  return '\n'.join(line for line in error.message.splitlines() if line.strip() and not line.startswith(_WHERE))
