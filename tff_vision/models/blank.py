"""Builds models whose variables start as zeros, because the server's weights overwrite them.

An executor initializes the variables of a client's graph before every call. The graph then first overwrites them with
the server's weights, so drawing a million random numbers before that is a waste.
"""

from collections.abc import Callable

import tensorflow as tf


def blank_model(model_fn: Callable[[], tf.keras.Model]) -> tf.keras.Model:
  """Returns the model that `model_fn` builds, with all weights zero."""
  def _create(next_creator, **settings):
    shape, dtype = settings['shape'], settings['dtype']
    return next_creator(**settings | {'initial_value': lambda: tf.zeros(shape, dtype)})

  with tf.variable_creator_scope(_create):
    return model_fn()
