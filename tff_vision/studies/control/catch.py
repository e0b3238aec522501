"""The game «catch» on pixels: a ball falls in the wind, and a paddle must be under it when it lands.

After Mnih et al., "Recurrent Models of Visual Attention", NIPS 2014, section 4.2; the wind, the paddle's width and the
camera differ from client to client. Everything is TensorFlow operations on a batch of episodes, so that a client's
whole game runs inside its computation. Random numbers are input tensors, so that another implementation can use the
same ones.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision import seeds

SIDE = 10
STEPS = SIDE - 1  # Number of rows that a ball falls.
ACTIONS = 3  # One column to the left, stay, one to the right.
IMAGE_SHAPE = (SIDE, SIDE, 2)  # The frame and the one before it, so that a picture shows where the ball is going.
_WIDTHS = (1, 2, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
  """The parameters of one client's game.

  Attributes:
    wind: In each step the ball moves one column with probability abs(wind), to the right if wind is positive.
    width: Number of columns that the paddle covers.
    brightness: Brightness of ball and paddle in the camera image.
    noise: Standard deviation of the camera's noise.
  """
  wind: float
  width: int
  brightness: float
  noise: float

  def as_vector(self) -> np.ndarray:
    """Returns the vector that is sent to the client: float32 [4]."""
    return np.array(dataclasses.astuple(self), np.float32)


def draw_environments(count: int, *, wind: float, seed: int) -> Sequence[Environment]:
  """Returns `count` environments; the first ones do not depend on `count`.

  Args:
    wind: The largest `abs(wind)`.
  """
  made = []
  for number in range(count):
    rng = np.random.default_rng(seeds.derive(seed, 'environment', number))
    made.append(Environment(wind=float(rng.uniform(-wind, wind)), width=int(rng.choice(_WIDTHS)),
                            brightness=float(rng.uniform(0.5, 1.0)), noise=float(rng.uniform(0.0, 0.1))))
  return made


@dataclasses.dataclass(frozen=True)
class Chance:
  """All random numbers of a batch of episodes.

  Attributes:
    start: [batch] in 0..1, the ball's first column.
    paddle: [batch] in 0..1, the paddle's first column.
    gusts: [STEPS, batch] in 0..1: below abs(wind), the wind moves the ball.
    choices: [STEPS, batch] in 0..1, select the actions from a policy's probabilities.
    noise: [STEPS, batch, SIDE, SIDE], standard normal.
  """
  start: tf.Tensor
  paddle: tf.Tensor
  gusts: tf.Tensor
  choices: tf.Tensor
  noise: tf.Tensor


def draw_chance(batch: int, seed: tf.Tensor) -> Chance:
  """Returns the random numbers of `batch` episodes, a function of `seed`, int64 [2]."""
  drawn = lambda purpose, shape: tf.random.stateless_uniform(shape, seed + [0, purpose])
  return Chance(drawn(0, [batch]), drawn(1, [batch]), drawn(2, [STEPS, batch]), drawn(3, [STEPS, batch]),
                tf.random.stateless_normal([STEPS, batch, SIDE, SIDE], seed + [0, 4]))


@dataclasses.dataclass(frozen=True)
class State:
  """A batch of games: int32 [batch] each, and frames.

  Attributes:
    row, column: Where the ball is.
    paddle: The paddle's leftmost column.
    before: [batch, SIDE, SIDE] the camera's frame of the previous step.
  """
  row: tf.Tensor
  column: tf.Tensor
  paddle: tf.Tensor
  before: tf.Tensor


def reset(environment: tf.Tensor, chance: Chance) -> State:
  """Returns games before their first step; `environment` is `Environment.as_vector`."""
  width = tf.cast(environment[1], tf.int32)
  column = tf.minimum(tf.cast(chance.start * SIDE, tf.int32), SIDE - 1)
  places = SIDE - width + 1
  paddle = tf.minimum(tf.cast(chance.paddle * tf.cast(places, tf.float32), tf.int32), places - 1)
  return State(tf.zeros_like(column), column, paddle, tf.zeros([tf.shape(column)[0], SIDE, SIDE]))


def look(environment: tf.Tensor, state: State, noise: tf.Tensor) -> tuple[tf.Tensor, State]:
  """Returns the camera's image, float32 [batch, SIDE, SIDE, 2], and the state that holds its frame.

  Args:
    noise: [batch, SIDE, SIDE], standard normal.
  """
  width, brightness, deviation = tf.cast(environment[1], tf.int32), environment[2], environment[3]
  rows, columns = tf.range(SIDE)[None, :, None], tf.range(SIDE)[None, None, :]
  at = lambda values: values[:, None, None]
  # tf.equal: inside a TFF computation, `==` tests whether two tensors are the same object.
  ball = tf.equal(rows, at(state.row)) & tf.equal(columns, at(state.column))
  paddle = tf.equal(rows, SIDE - 1) & (columns >= at(state.paddle)) & (columns < at(state.paddle) + width)
  frame = brightness * tf.cast(ball | paddle, tf.float32) + deviation * noise
  return tf.stack([frame, state.before], axis=3), dataclasses.replace(state, before=frame)


def step(environment: tf.Tensor, state: State, actions: tf.Tensor, gusts: tf.Tensor) -> tuple[State, tf.Tensor]:
  """Moves paddle and ball.

  Args:
    actions: int32 [batch] in 0..2.
    gusts: [batch] in 0..1.

  Returns:
    The next state, and the reward, float32 [batch]: 1 for a ball that lands on the paddle.
  """
  wind, width = environment[0], tf.cast(environment[1], tf.int32)
  paddle = tf.clip_by_value(state.paddle + actions - 1, 0, SIDE - width)
  blown = tf.where(gusts < tf.abs(wind), tf.cast(tf.sign(wind), tf.int32), 0)
  column = tf.clip_by_value(state.column + blown, 0, SIDE - 1)
  row = state.row + 1
  caught = tf.equal(row, SIDE - 1) & (column >= paddle) & (column < paddle + width)
  return State(row, column, paddle, state.before), tf.cast(caught, tf.float32)
