"""How `tf.data` treats one client's examples."""

import functools

import tensorflow as tf


@functools.cache
def options() -> tf.data.Options:
  """Returns options for a data set that is small and lives for one call.

  Tuning it, rewriting it and starting threads for it cost more than they save.
  """
  made = tf.data.Options()
  made.autotune.enabled = False
  made.experimental_optimization.apply_default_optimizations = False
  made.threading.private_threadpool_size = 1
  made.deterministic = True
  return made
