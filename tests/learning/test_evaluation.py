"""Evaluation against numpy and scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from tff_vision.data import images
from tff_vision.learning import evaluation


def evaluator(outputs):
  """A model whose logits are the first `outputs` pixels."""
  model = tf.keras.Sequential([tf.keras.layers.Input((1, outputs, 1)), tf.keras.layers.Flatten()])
  return evaluation.Evaluator(model, preprocessing=images.Preprocessing())


def held_out(logits, y, clients):
  x = logits.astype(np.float32).reshape(len(logits), 1, -1, 1)
  return images.HeldOut(examples=images.Examples(x, y), clients=clients)


def test_multiclass_metrics_over_more_than_one_batch():
  rng = np.random.default_rng(0)
  logits, y = rng.normal(size=(1203, 4)), rng.integers(0, 4, 1203).astype(np.int32)
  clients = [np.arange(0, 100), np.arange(100, 101), np.zeros(0, int), np.arange(101, 1203)]
  found = evaluator(4).evaluate(held_out(logits, y, clients))
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  assert found['evaluation']['loss'] == pytest.approx(-log_p[np.arange(1203), y].mean(), rel=1e-5)
  assert found['evaluation']['accuracy'] == pytest.approx((logits.argmax(1) == y).mean())
  by_client = [(logits[c].argmax(1) == y[c]).mean() for c in clients if len(c)]
  summary = found['per_client']
  assert summary['accuracies'] == pytest.approx([*by_client[:2], None, by_client[2]])
  assert (summary['count'], summary['without_examples'], summary['worst']) == (3, 1, min(by_client))
  assert summary['mean'] == pytest.approx(np.mean(by_client))
  assert summary['percentile_10'] == pytest.approx(np.percentile(by_client, 10))


def test_two_classes_have_an_auc():
  rng = np.random.default_rng(1)
  y = rng.integers(0, 2, 300).astype(np.int32)
  logits = np.stack([rng.normal(size=300), rng.normal(size=300) + y], axis=1)
  found = evaluator(2).evaluate(held_out(logits, y, [np.arange(300)]))
  assert found['evaluation']['auc'] == pytest.approx(metrics.roc_auc_score(y, logits[:, 1] - logits[:, 0]), abs=1e-6)


def test_findings_have_an_auc_each_and_one_without_positives_is_left_out():
  rng = np.random.default_rng(2)
  y = (rng.random((200, 3)) < 0.3).astype(np.float32)
  y[:, 2] = 0
  logits = rng.normal(size=(200, 3)) + y
  found = evaluator(3).evaluate(held_out(logits, y, [np.arange(200)]))['evaluation']
  expected = [metrics.roc_auc_score(y[:, i], logits[:, i]) for i in range(2)]
  assert found['auc_by_finding'] == pytest.approx([*expected, None], abs=1e-6)
  assert found['auc'] == pytest.approx(np.mean(expected), abs=1e-6)
  assert found['accuracy'] == pytest.approx(((logits > 0) == (y > 0)).mean())
  cross_entropy = np.log1p(np.exp(-np.where(y > 0, logits, -logits))).mean()
  assert found['loss'] == pytest.approx(cross_entropy, rel=1e-5)


def test_no_client_with_test_examples_is_no_guess():
  assert evaluation.per_client(np.ones(3), [np.zeros(0, int)]) == {
      'count': 0, 'without_examples': 1, 'accuracies': [None]}


def test_of_too_many_clients_a_histogram_is_told_and_no_row_for_each(monkeypatch):
  """The other numbers are the same."""
  rng = np.random.default_rng(0)
  values = [None if rng.random() < 0.3 else float(rng.random()) for _ in range(40)]
  listed = evaluation.summary(values)
  monkeypatch.setattr(evaluation, 'MAX_LISTED', 39)
  counted = evaluation.summary(values)
  known = [value for value in values if value is not None]
  assert counted == {**{key: value for key, value in listed.items() if key != 'accuracies'},
                     'histogram': counted['histogram']}
  edges, counts = counted['histogram']['edges'], counted['histogram']['counts']
  assert sum(counts) == len(known) and edges[0] == min(known) and edges[-1] == max(known)
  # Clients without examples may be left out of the values.
  assert evaluation.summary(known, others=40 - len(known)) == counted
  assert evaluation.summary([], others=40) == {'count': 0, 'without_examples': 40}
  monkeypatch.setattr(evaluation, 'MAX_LISTED', 40)
  assert evaluation.summary(known, others=40 - len(known))['accuracies'] == known


def test_clients_without_examples_are_not_asked_for_if_there_are_too_many(monkeypatch):
  clients = [np.arange(2), np.zeros(0, np.int64), np.array([2])]
  assert evaluation._asked(clients) == (clients, 0)
  monkeypatch.setattr(evaluation, 'MAX_LISTED', 2)
  asked, others = evaluation._asked(clients)
  assert [own.tolist() for own in asked] == [[0, 1], [2]] and others == 1
