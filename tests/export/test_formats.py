"""What is said of exported files that answer otherwise than the model."""

import numpy as np

from tff_vision.export import formats, model_card


def test_eight_bits_that_are_too_few_for_the_numbers_of_a_model_are_said():
  """Of numbers about 1000 with a deviation of 1, steps of 4 leave nothing; differences over 1000 look small."""
  expected = 1000 + np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
  coarse = formats.error_by_deviation(np.round(expected / 4) * 4, expected)
  assert coarse > 0.5 and formats.error_by_deviation(expected[:1], expected[:1]) is None
  [said] = model_card.coarse({'tflite_int8': {'error_by_deviation': coarse}})
  assert f'off by {100 * coarse:.0f} % of the deviation' in said
  fine = formats.error_by_deviation(np.round(expected * 100) / 100, expected)
  assert not model_card.coarse({'tflite_int8': {'error_by_deviation': fine}}) and not model_card.coarse({'tflite': {}})
