"""Attackers among the clients: chosen by the seed, and what they do to their stored examples."""

import numpy as np
import pytest

from tests import tiny
from tff_vision import configs
from tff_vision.data import attacked, given, images


def config(attack, **settings):
  return configs.AttackConfig(attack=attack, **{'attack_fraction': 0.5, **settings})


def test_attackers_are_so_many_and_a_function_of_the_seed():
  chosen = attacked.attackers(config('label_flip', attack_fraction=0.2), 50, seed=1)
  assert len(set(chosen)) == 10 and set(chosen) < set(range(50))
  assert chosen == attacked.attackers(config('sign_flip', attack_fraction=0.2), 50, seed=1)
  assert chosen != attacked.attackers(config('sign_flip', attack_fraction=0.2), 50, seed=2)
  assert attacked.attackers(configs.AttackConfig(), 50, seed=1) == ()
  with pytest.raises(ValueError, match='attack_fraction=0.05 of 4'):
    attacked.attackers(config('label_flip', attack_fraction=0.05), 4, seed=1)


def test_only_attackers_flip_their_labels():
  found = tiny.federated_images()
  changed = attacked.attacked(config('label_flip'), found, seed=0)
  chosen = attacked.attackers(config('label_flip'), 4, seed=0)
  for client in range(4):
    before, after = found.train.examples(client), changed.train.examples(client)
    np.testing.assert_array_equal(after.x, before.x)
    np.testing.assert_array_equal(after.y, 2 - before.y if client in chosen else before.y)
  assert '2 of 4' in changed.notes[-1] and changed.test is found.test


def test_a_backdoor_is_in_every_other_image_and_the_stored_ones_stay_clean():
  found = tiny.federated_images()
  clean = found.test.examples.x.copy()
  attack = config('backdoor_patch', attack_target=1, attack_patch=2)
  changed = attacked.attacked(attack, found, seed=0)
  chosen = attacked.attackers(attack, 4, seed=0)
  for client in range(4):
    before, after = found.train.examples(client), changed.train.examples(client)
    bad = np.arange(len(before)) % 2 == 0 if client in chosen else np.zeros(len(before), bool)
    np.testing.assert_array_equal(after.y, np.where(bad, 1, before.y))
    np.testing.assert_array_equal(after.x[~bad], before.x[~bad])
    np.testing.assert_array_equal(after.x[bad, 2:, 2:, 0], np.broadcast_to([[0, 255], [255, 0]], (bad.sum(), 2, 2)))
    np.testing.assert_array_equal(after.x[bad, :2], before.x[bad, :2])
  np.testing.assert_array_equal(found.test.examples.x, clean)
  tested = attacked.backdoor_test(attack, found.test.examples)
  assert len(tested) == (found.test.examples.y != 1).sum() and (tested.y != 1).all()
  assert (tested.x[:, 3, 2] == 255).all()


def test_masks_are_flipped_where_they_count_and_take_no_backdoor():
  masks = np.array([[[0, 2], [1, 255]]] * 6, np.uint8)
  part = (np.zeros((6, 2, 2), np.uint8), masks)
  found = given.from_arrays({'a': part, 'b': part}, test=part)
  changed = attacked.attacked(config('label_flip'), found, seed=0)
  flipped = [client for client in range(2) if not np.array_equal(changed.train.examples(client).y, masks)]
  assert len(flipped) == 1 and changed.train.examples(flipped[0]).y[0].tolist() == [[2, 0], [1, 255]]
  with pytest.raises(ValueError, match='backdoor_patch gives whole images another class'):
    attacked.attacked(config('backdoor_patch', attack_target=1, attack_patch=1), found, seed=0)


def test_multi_label_examples_are_attacked_too():
  y = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
  examples = images.Examples(np.zeros((3, 4, 4, 1), np.float32), y)
  flipped = attacked.DATA_ATTACKS['label_flip'](config('label_flip'), 2)(examples)
  np.testing.assert_array_equal(flipped.y, 1 - y)
  attack = config('backdoor_patch', attack_target=0)
  np.testing.assert_array_equal(attacked.DATA_ATTACKS['backdoor_patch'](attack, 2)(examples).y,
                                [[1, 1], [1, 0], [1, 0]])
  np.testing.assert_array_equal(attacked.backdoor_test(attack, examples).y, y[[0, 2]])


@pytest.mark.parametrize(('settings', 'name'), [({'attack_target': 3}, 'attack_target=3'),
                                                ({'attack_patch': 5}, 'attack_patch=5')])
def test_a_backdoor_that_does_not_fit_is_refused(settings, name):
  with pytest.raises(ValueError, match=name):
    attacked.attacked(config('backdoor_patch', **settings), tiny.federated_images(), seed=0)
