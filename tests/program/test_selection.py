"""Which round's model is kept and when training ends, from records alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.objectives import classification, metric
from tff_vision.program import selection

OBJECTIVE = classification.Classification(num_outputs=2, multi_label=False)


def history(values, name='accuracy', every=1):
  return [{'round': number, **({'validation': {} if value is None else {name: value}} if number % every == 0 else {})}
          for number, value in enumerate(values, start=1)]


def rule(name, patience=None):
  return selection.of(name, patience, OBJECTIVE, ('accuracy', 'loss', 'auc'))


def test_the_first_of_the_best_is_kept_whichever_way_is_better():
  assert rule('accuracy').best(history([0.1, 0.5, 0.5, 0.4])) == 2
  assert rule('loss').best(history([0.9, 0.5, 0.5, 0.6], 'loss')) == 2
  assert rule('loss').value(history([0.9, 0.5], 'loss')) == 0.5
  assert rule('accuracy').best(history([0.1, 0.9, 0.5, 0.4], every=3)) == 3
  assert rule('accuracy').best([{'round': 1}]) is None and rule('accuracy').value([]) is None


def test_numbers_that_are_none_or_not_finite_are_never_the_best():
  assert rule('loss').best(history([float('nan'), None, 3.0, float('-inf')], 'loss')) == 3
  assert rule('accuracy').best(history([None, None])) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_patience_ends_after_so_many_evaluations_without_a_better_one(values, patience):
  found, since, best = rule('accuracy', patience), 0, -1.0
  for number, value in enumerate(values, start=1):
    since, best = (0, value) if value > best else (since + 1, best)
    assert found.is_over(history(values[:number])) == (since >= patience)
    if since >= patience:
      break
  assert not rule('accuracy').is_over(history(values))


def test_a_metric_that_is_not_measured_is_refused():
  assert selection.of(None, None, OBJECTIVE, ()) is None
  assert rule('auc').metric == metric.AUC
  with pytest.raises(ValueError, match='select_best=auc is not measured .* choose accuracy or loss'):
    selection.of('auc', None, OBJECTIVE, ('accuracy', 'loss'))
