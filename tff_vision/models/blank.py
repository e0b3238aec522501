"""Builds models whose variables start as zeros, because the server's weights overwrite them.

An executor initializes the variables of a client's graph before every call, and the first thing that the graph does is
to overwrite them with the server's weights: drawing a million random numbers first is a waste.
"""

from collections.abc import Callable

import tensorflow as tf


def blank_model(model_fn: Callable[[], tf.keras.Model]) -> tf.keras.Model:
  """Returns what `model_fn` builds, with zeros for weights."""
  def _create(next_creator, **settings):
    shape, dtype = settings['shape'], settings['dtype']
    return next_creator(**settings | {'initial_value': lambda: tf.zeros(shape, dtype)})

  with tf.variable_creator_scope(_create):
    return model_fn()
