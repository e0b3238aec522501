"""Segmentation: Dice, IoU and the loss by hand, what is ignored, and streams of test images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from tff_vision import configs, labels, objectives
from tff_vision.data import images
from tff_vision.learning import evaluation
from tff_vision.models import check, unet
from tff_vision.objectives import base, segmentation

I = labels.IGNORED
MASKS = np.array([[[0, 1], [1, I]], [[0, 0], [2, 2]]], np.uint8)
# Predicted classes; certain, with logits of 8 for them.
FOUND = np.array([[[0, 1], [0, 2]], [[0, 1], [2, 2]]])
LOGITS = 8.0 * np.eye(3, dtype=np.float32)[FOUND]


def test_dice_and_iou_by_hand():
  """Over both images: class 0 true 3, found 3, both 2; class 1 true 2, found 2, both 1; class 2 true 2, found 2."""
  found = segmentation.Segmentation(num_outputs=3).measure(LOGITS, MASKS)['evaluation']
  assert found['dice_by_class'] == pytest.approx([2 / 3, 1 / 2, 1])
  assert found['iou_by_class'] == pytest.approx([2 / 4, 1 / 3, 1])
  assert found['dice'] == pytest.approx(3 / 4) and found['iou'] == pytest.approx(2 / 3)
  assert found['pixel_accuracy'] == pytest.approx(5 / 7), 'the ignored pixel counts nowhere'
  with_all = segmentation.Segmentation(num_outputs=3, background=False).measure(LOGITS, MASKS)['evaluation']
  assert with_all['dice'] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
  # A class that neither side shows has no Dice, and a client without pixels of any has none either.
  learned = segmentation.Segmentation(num_outputs=4)
  logits = np.concatenate([LOGITS, np.full((2, 2, 2, 1), -9, np.float32)], -1)
  assert learned.measure(logits, MASKS)['evaluation']['dice_by_class'][3] is None
  nothing = np.zeros((1, 2, 2), np.uint8)
  assert learned.client_values(logits, MASKS, [np.array([0]), np.array([1]), np.array([], int)]) == [
      pytest.approx(2 / 3), pytest.approx((0 + 1) / 2), None]
  assert learned.client_values(8 * np.eye(4, dtype=np.float32)[nothing], nothing, [np.array([0])]) == [None]


def test_the_loss_by_hand():
  rng = np.random.default_rng(0)
  logits, weights = rng.normal(size=(2, 2, 2, 3)), np.array([1.0, 2.0, 5.0])
  found = base.per_example(segmentation.CrossEntropyAndDice(weights, 0.3))(MASKS, logits.astype(np.float32)).numpy()
  shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  for image in range(2):
    entropies, counted, dice = [], [], []
    for row, column in np.ndindex(2, 2):
      if (true := MASKS[image, row, column]) != I:
        entropies.append(-weights[true] * np.log(shares[image, row, column, true]))
        counted.append(weights[true])
    shown = sorted(set(MASKS[image].ravel()) - {I})  # Two of three classes.
    for c in shown:
      mask, p = MASKS[image] == c, np.where(MASKS[image] == I, 0, shares[image, ..., c])
      dice.append((2 * p[mask].sum() + 1) / (p.sum() + mask.sum() + 1))
    expected = sum(entropies) / sum(counted) + 0.3 * (1 - np.average(dice, weights=weights[shown]))
    assert found[image] == pytest.approx(expected, rel=1e-5)
  ignored = np.full((1, 2, 2), I, np.uint8)
  loss = base.per_example(segmentation.CrossEntropyAndDice())
  assert loss(ignored, logits[:1].astype(np.float32)).numpy() == pytest.approx([0.0])
  # A pixel's own logits do not matter where it is ignored.
  changed = logits.astype(np.float32)
  changed[0, 1, 1] = 100
  assert loss(MASKS, changed).numpy()[0] == pytest.approx(loss(MASKS, logits.astype(np.float32)).numpy()[0])
  assert float(segmentation.CrossEntropyAndDice()(MASKS, changed)) == pytest.approx(loss(MASKS, changed).numpy().mean())
  again = tf.keras.losses.deserialize(tf.keras.losses.serialize(segmentation.CrossEntropyAndDice(weights, 0.3)))
  assert again.get_config()['dice_weight'] == 0.3


def test_right_answers_are_shares_of_counted_pixels():
  learned = segmentation.Segmentation(num_outputs=3)
  assert float(learned.right(LOGITS, MASKS)) == pytest.approx(2 / 3 + 3 / 4)
  assert float(learned.right(LOGITS[:0], MASKS[:0])) == 0
  metric, = learned.metrics()
  metric.update_state(MASKS, LOGITS)
  assert metric.result().numpy() == pytest.approx((2 / 3 + 3 / 4) / 2)


def test_evaluation_in_pieces_equals_the_whole(monkeypatch):
  rng = np.random.default_rng(1)
  y = rng.integers(0, 3, (7, 9, 8)).astype(np.uint8)
  held_out = images.HeldOut(examples=images.Examples(rng.integers(0, 255, (7, 9, 8, 1)).astype(np.uint8), y),
                            clients=[np.arange(4), np.arange(4, 7)])
  learned = segmentation.Segmentation(num_outputs=3)
  model = learned.keras_model(unet.build_small, (6, 6, 1))
  evaluator = evaluation.Evaluator(model, preprocessing=images.Preprocessing(size=8, crop=6), objective=learned)
  whole = evaluator.evaluate(held_out)
  monkeypatch.setattr(evaluation, '_BATCH', 2)
  parts = evaluator.evaluate(held_out)
  assert parts['evaluation'] == pytest.approx(whole['evaluation'], rel=1e-5)
  assert parts['per_client']['accuracies'] == pytest.approx(whole['per_client']['accuracies'])
  by_hand = learned.measure(evaluator.logits(held_out.examples.x), evaluator.labels(held_out.examples))
  assert by_hand['evaluation']['dice'] == pytest.approx(whole['evaluation']['dice'], rel=1e-5)
  assert evaluator.labels(held_out.examples).shape == (7, 6, 6)


@pytest.mark.parametrize('build', [unet.build, unet.build_small])
@pytest.mark.parametrize('shape', [(32, 32, 3), (17, 23, 1), (8, 11, 1)])
def test_u_nets_return_a_vector_for_each_pixel_of_any_size(build, shape):
  check.check(build(shape, 4), input_shape=shape, output_shape=(*shape[:2], 4))


def test_what_is_refused():
  settings = configs.TaskConfig(task='segmentation', class_weights=('1', '2'))
  with pytest.raises(ValueError, match='class_weights has 2 numbers, and the masks have 3 classes: background, a, b'):
    segmentation.build(settings, ('background', 'a', 'b'), labels.Kind.MASK, None)
  with pytest.raises(ValueError, match='one class each, which task=classification learns from'):
    segmentation.build(settings, ('a', 'b'), labels.Kind.CLASS, None)
  for task in ('classification', 'embedding', 'anomaly'):
    with pytest.raises(ValueError, match='labels are masks, which task=segmentation learns from'):
      objectives.TASKS[task](configs.TaskConfig(), ('a', 'b'), labels.Kind.MASK, None)
  for wrong in (('x',), (-1.0, 1.0), (0, 0), ('nan',)):
    with pytest.raises(ValueError, match='class_weights='):
      configs.TaskConfig(task='segmentation', class_weights=wrong)
  with pytest.raises(ValueError, match='dice_weight=0.5 has no effect'):
    configs.TaskConfig(dice_weight=0.5)
  with pytest.raises(ValueError, match='needs model=unet_gn or unet_gn_small or unet3d_gn'):
    assert tv.Experiment(tv.Task('digits', model='cnn', objective=tv.Segmentation())).config
  with pytest.raises(ValueError, match='needs task=segmentation'):
    assert tv.Experiment(tv.Task('digits', model='unet_gn')).config
  with pytest.raises(ValueError, match='at least 8 pixels'):
    unet.build((7, 20, 1), 2)


def test_the_background_is_the_class_of_that_name():
  made = lambda *names: segmentation.build(configs.TaskConfig(task='segmentation'), names, labels.Kind.MASK, None)
  assert made('Background', 'lung').background and not made('road', 'sky').background
  assert dataclasses.asdict(made('a', 'b'))['num_outputs'] == 2
