"""Catch against games played pixel by pixel in plain Python, and its optimum against plain recursion."""

import functools

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.studies.control import catch, optimum

ENVIRONMENTS = st.builds(catch.Environment, wind=st.floats(-1, 1, width=32), width=st.sampled_from((1, 2, 3)),
                         brightness=st.floats(0.5, 1, width=32), noise=st.floats(0, 0.125, width=32))


def slow_game(environment, chance, game, actions):
  """Returns the frames that one game shows and its rewards, from numpy numbers."""
  ball = min(int(np.float32(chance.start[game]) * np.float32(10)), 9)
  places = 10 - environment.width + 1
  paddle = min(int(np.float32(chance.paddle[game]) * np.float32(places)), places - 1)
  frames, rewards, before = [], [], np.zeros((10, 10))
  for row in range(9):
    frame = np.zeros((10, 10))
    for i in range(10):
      for j in range(10):
        lit = (i, j) == (row, ball) or (i == 9 and paddle <= j <= paddle + environment.width - 1)
        frame[i, j] = environment.brightness * lit + environment.noise * chance.noise[row, game, i, j]
    frames.append(np.stack([frame, before], axis=-1))
    before = frame
    paddle = max(0, min(paddle + {0: -1, 1: 0, 2: 1}[int(actions[row])], 10 - environment.width))
    if chance.gusts[row, game] < abs(environment.wind):
      ball = max(0, min(ball + (1 if environment.wind > 0 else -1), 9))
    rewards.append(float(row == 8 and ball in range(paddle, paddle + environment.width)))
  return frames, rewards


@settings(max_examples=15)
@given(ENVIRONMENTS, st.integers(0, 2**62))
def test_a_batch_of_games_equals_games_played_one_by_one(environment, seed):
  chance = catch.draw_chance(3, tf.constant([seed, 0], tf.int64))
  numbers = type(chance)(*(getattr(chance, name).numpy() for name in ('start', 'paddle', 'gusts', 'choices', 'noise')))
  actions = np.random.default_rng(seed).integers(0, 3, (9, 3))
  vector = tf.constant(environment.as_vector())
  state, images, rewards = catch.reset(vector, chance), [], []
  for t in range(catch.STEPS):
    image, state = catch.look(vector, state, chance.noise[t])
    state, reward = catch.step(vector, state, tf.constant(actions[t], tf.int32), chance.gusts[t])
    images.append(image)
    rewards.append(reward)
  for game in range(3):
    frames, expected = slow_game(environment, numbers, game, actions[:, game])
    np.testing.assert_allclose(np.stack(images)[:, game], frames, atol=1e-6)
    np.testing.assert_array_equal(np.stack(rewards)[:, game], expected)


@settings(max_examples=10)
@given(ENVIRONMENTS)
def test_the_best_catch_rate_is_that_of_recursion_over_single_states(environment):
  gust, sign = abs(environment.wind), int(np.sign(environment.wind))

  @functools.cache
  def value(row, ball, paddle):
    if row == 9:
      return float(paddle <= ball < paddle + environment.width)
    after = []
    for move in (-1, 0, 1):
      moved = max(0, min(paddle + move, 10 - environment.width))
      after.append((1 - gust) * value(row + 1, ball, moved) + gust * value(row + 1, max(0, min(ball + sign, 9)), moved))
    return max(after)

  starts = [value(0, ball, paddle) for ball in range(10) for paddle in range(10 - environment.width + 1)]
  assert abs(optimum.best_catch_rate(environment) - np.mean(starts)) < 1e-9


def test_environments_differ_and_do_not_depend_on_their_number():
  few, many = (catch.draw_environments(count, wind=0.5, seed=3) for count in (2, 6))
  assert many[:2] == few and len({environment.wind for environment in many}) == 6
  assert all(abs(environment.wind) <= 0.5 for environment in many)
  assert catch.draw_environments(2, wind=0.5, seed=4) != few
