"""The aggregator of central client-level mechanisms: clip, sum, add noise, divide by a fixed number.

McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018, algorithm 1; correlated
noise as in Kairouz et al. 2021 and Choquette-Choo et al. 2023; the tracked clip of Andrew et al. 2021
(arXiv:1905.03871).
"""

import collections
import dataclasses
import secrets

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.accounting import gdp
from tff_vision.privacy.noise import correlated_noise, integer_grid, key_binding
from tff_vision.privacy.noise import integer_gaussian as noise
from tff_vision.secure import os_keys

_HALF = integer_grid.STEPS // 2  # A client's indicator is sent as plus or minus one half, in grid steps.


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantileClip:
  """A clip norm that tracks a quantile of the update norms through noised counts; arXiv:1905.03871, algorithm 1.

  Attributes:
    quantile: The fraction of updates to leave unclipped.
    learning_rate: The learning rate of the geometric update.
    count_stddev: Standard deviation of the noise on the count of unclipped updates.
  """
  quantile: float
  learning_rate: float
  count_stddev: float

  def sum_noise_multiplier(self, total: float) -> float:
    """Returns the sum's noise multiplier, such that sum and count together cost as much as one Gaussian of `total`.

    The count's sensitivity is 1/2, hence z^-2 = total^-2 - (2 count_stddev)^-2.

    Raises:
      ValueError: The count alone already costs this much.
    """
    noise = gdp.beside(total, 2 * self.count_stddev)
    if noise is None:
      raise ValueError(f'count_stddev={self.count_stddev:g} is too small beside noise_multiplier={total:g}: the clip '
                       f'alone would cost the whole budget; it must exceed {total / 2:g}.')
    return noise

  def moved(self, clip_norm: tf.Tensor, fraction: tf.Tensor) -> tf.Tensor:
    """Returns the next clip norm, given the noised fraction of unclipped updates, float64."""
    return clip_norm * tf.cast(tf.exp(-self.learning_rate * (fraction - self.quantile)), clip_norm.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
  """Mean of clipped updates over `denominator`, with noise on the sum.

  Its state is secret: it holds the noise key and the buffers of correlated noise. A round that is repeated from the
  same state over the same clients gives exactly the same output and so releases nothing new. Over other clients it
  gets different noise, see `binding`.

  Attributes:
    clip_norm: L2 bound on one client's update (with `quantile`, its first value).
    noise_multiplier: Standard deviation of the white noise over the sensitivity. The sensitivity is the clip norm, plus
      the rounding error if the sum is hidden.
    denominator: The expected number of clients; attendance itself is not public.
    stream: How white noise becomes the noise of a round.
    max_rounds: The number of rounds for which the stream's sensitivity was computed; a further round fails.
    quantile: How the clip norm adapts; None if it is fixed.
    sum_factory: Sums float32 updates of norm at most clip_norm, hidden from the server, with each update rounded
      separately to the sum's own grid; None sums integers in the clear, exactly.
    tells_total: Whether the exact sum is also in the measurements, for a reader who may read the server's state too.
  """
  # The path to the sum's state within the mean's state; see `aggregation.stack.build_secure_stack`.
  PLACE_OF_SUM = ('summing',)

  clip_norm: float
  noise_multiplier: float
  denominator: float
  stream: correlated_noise.Stream = correlated_noise.White()
  max_rounds: int = 2 ** 31
  quantile: QuantileClip | None = None
  sum_factory: tff.aggregators.UnweightedAggregationFactory | None = None
  tells_total: bool = False

  def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
    """Returns the process for updates of `value_type`, a tensor or a structure of floating-point tensors."""
    template = tff.types.type_to_tf_tensor_specs(value_type)
    initial = tff.tensorflow.computation(lambda: self._initial(tf.nest.flatten(template)))
    mechanism_type = initial.type_signature.result

    @tff.tensorflow.computation(value_type, mechanism_type.clip_norm)
    def encode(value, clip_norm):
      return self._encode(tf.nest.flatten(value), clip_norm)

    sum_factory = self.sum_factory or tff.aggregators.SumFactory()
    summing = sum_factory.create(encode.type_signature.result)

    @tff.tensorflow.computation(mechanism_type, summing.next.type_signature.result.result.member)
    def release(mechanism, total):
      result, following = self._release(tf.nest.flatten(template), mechanism, total)
      return tf.nest.pack_sequence_as(template, result), following

    @tff.federated_computation
    def init_fn():
      return tff.federated_zip(collections.OrderedDict(
          mechanism=tff.federated_eval(initial, tff.SERVER), summing=summing.initialize()))

    @tff.federated_computation(init_fn.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      clip_norm = tff.federated_broadcast(state['mechanism']['clip_norm'])
      summed = summing.next(state['summing'], tff.federated_map(encode, (value, clip_norm)))
      released = tff.federated_map(release, (state['mechanism'], summed.result))
      # The clip norm of this round, and the measurements that are needed to open a hidden sum.
      told = collections.OrderedDict(clip_norm=state['mechanism']['clip_norm'], sum=summed.measurements)
      if self.tells_total:
        told['total'] = summed.result['update']
      measured = tff.federated_zip(told)
      return tff.templates.MeasuredProcessOutput(
          tff.federated_zip(collections.OrderedDict(mechanism=released[1], summing=summed.state)),
          released[0], measured)

    return tff.templates.AggregationProcess(init_fn, next_fn)

  def _initial(self, specs):
    """Returns the mechanism's state before the first round; the key comes from the server's operating system kernel."""
    return collections.OrderedDict(
        server_secret_key=os_keys.kernel_key(), round=tf.constant(0, tf.int64),
        clip_norm=tf.constant(self.clip_norm, tf.float32),
        server_secret_buffers=[tf.zeros([self.stream.num_buffers, *spec.shape], self.stream.dtype) for spec in specs])

  def _encode(self, tensors, clip_norm):
    """Encodes a client's update; runs on the client."""
    update, norm = integer_grid.encode(tensors, clip_norm)
    inside = norm <= tf.cast(clip_norm, tf.float64)
    below = [tf.where(inside, tf.constant(_HALF, tf.int64), tf.constant(-_HALF, tf.int64))] if self.quantile else []
    if self.sum_factory is not None:
      update = [tf.cast(integer_grid.decode(steps, 0, clip_norm), tf.float32) for steps in update]
    return collections.OrderedDict(update=update, below=below)

  def _release(self, specs, mechanism, total):
    """Runs on the server: returns the noised mean, flat, and the next state."""
    round_num, clip_norm = mechanism['round'], mechanism['clip_norm']
    promised = tf.debugging.assert_less(round_num, tf.constant(self.max_rounds, tf.int64),
                                        message='more rounds than the noise was calibrated for')
    with tf.control_dependencies([promised]):
      summed = [integer_grid.steps(part, clip_norm) for part in total['update']]
      key = key_binding.round_key(mechanism['server_secret_key'], round_num, [*summed, *total['below']])
    sigma = self._stddev_steps(specs)
    result, following = [], []
    for index, (spec, buffers) in enumerate(zip(specs, mechanism['server_secret_buffers'], strict=True)):
      def draw(number, index=index, spec=spec):
        return noise.gaussian(key, correlated_noise.nonce(index, number, round_num), spec.shape, sigma)
      fresh, buffers = self.stream.step(buffers, round_num, draw)
      released = integer_grid.decode(summed[index], fresh, clip_norm)
      result.append(tf.cast(released / self.denominator, spec.dtype))
      following.append(buffers)
    next_clip = clip_norm
    if self.quantile:
      white = noise.gaussian(key, correlated_noise.nonce(len(specs), 0, round_num), (),
                             self.quantile.count_stddev * integer_grid.STEPS)
      next_clip = self._moved_clip(clip_norm, total['below'][0], white)
    return result, collections.OrderedDict(
        server_secret_key=mechanism['server_secret_key'], round=round_num + 1, clip_norm=next_clip,
        server_secret_buffers=following)

  def _stddev_steps(self, specs):
    """Returns the standard deviation of the white noise in grid steps / 2^fraction_bits of the stream."""
    multiplier = (self.quantile.sum_noise_multiplier(self.noise_multiplier) if self.quantile
                  else self.noise_multiplier)
    sensitivity = integer_grid.STEPS
    if self.sum_factory is not None:
      sensitivity = integer_grid.hidden_sensitivity(sum(spec.shape.num_elements() for spec in specs), self.denominator)
    return multiplier * sensitivity * 2 ** self.stream.fraction_bits

  def _moved_clip(self, clip_norm, below, white):
    balance = integer_grid.decode(below, white, 1.0)
    return self.quantile.moved(clip_norm, balance / self.denominator + 0.5)


def with_fresh_key(state: tff.learning.templates.LearningAlgorithmState
                   ) -> tff.learning.templates.LearningAlgorithmState:
  """Returns the state of a learning process over `NoisedMeanFactory` with a fresh noise key.

  Used when a round runs again after it finished. The first output is public by then, so noise that depends only on the
  total would reveal whether the two totals are equal.
  """
  mechanism = collections.OrderedDict(state.aggregator['mechanism'],
                                      server_secret_key=np.frombuffer(secrets.token_bytes(32), np.uint32))
  return state._replace(aggregator=collections.OrderedDict(state.aggregator, mechanism=mechanism))
