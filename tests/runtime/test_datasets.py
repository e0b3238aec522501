"""Data sets above TFF's own limit reach an executor."""

import numpy as np
import tensorflow as tf
from tensorflow_federated.python.core.impl.executors import value_serialization

from tff_vision.runtime import datasets


def test_a_silo_of_more_than_100_mb_is_serialized():
  size = 101 * 2 ** 20
  datasets.lift_size_limit()
  found = value_serialization._serialize_dataset(tf.data.Dataset.from_tensors(np.zeros(size, np.uint8)))
  assert len(found) > size
