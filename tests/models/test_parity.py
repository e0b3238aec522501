"""Differences of logits by which exported files are checked, by hand."""

import numpy as np
import pytest

from tff_vision.export import keras_export

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize('found, expected, difference', [
    ([1.0, 2.0], [1.0, 2.5], 0.5), ([1.0, NAN], [1.25, NAN], 0.25), ([NAN, NAN], [NAN, INF], 0.0),
    ([NAN, 1.0], [1.0, 1.0], INF), ([INF, 1.0], [1.0, 1.0], INF), ([-INF, 3.0], [-INF, 3.0], 0.0)])
def test_only_finite_logits_are_compared_and_each_must_be_there(found, expected, difference):
  assert keras_export.largest_difference(np.array(found), np.array(expected)) == difference


def test_a_file_that_answers_with_no_number_where_one_is_expected_is_refused():
  with pytest.raises(RuntimeError, match='differs'):
    keras_export.check_difference(keras_export.largest_difference(np.array([NAN]), np.array([1.0])), 1.0, what='file')
