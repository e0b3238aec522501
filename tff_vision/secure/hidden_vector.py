"""What a client hides in a secure sum, and what its sum says: the one place that knows where a weight stands.

A client hides one vector: the numbers that it tells, its weight first if it has one, and behind them its update times
its weight's share of the largest weight that may occur, which is public, so that a weighed update keeps its range. The
server learns the sum of weighed updates and the sum of weights, and nothing about one client's weight. What follows the
sum is `SecureMeanFactory`, to whose innermost sum the sum of the weights' shares comes last.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import told
from tff_vision.secure import hidden_sum, whole_numbers
from tff_vision.secure.masking import masked_sum

Upload: TypeAlias = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiddenVector:
  """The vector of one run.

  Attributes:
    encoding: How an update becomes integers, like `fixed_point.Encoding`.
    value_bits: Bits of an integer of the numbers that are told.
    quantities: What is told beside the update, without a weight.
    summary: As `told.Told.summary`.
    largest_weight: No client has a larger weight; one that has fails the round before anything is hidden. None: every
      update counts once, and no weight is sent.
  """
  encoding: Any
  value_bits: int
  quantities: Mapping[str, told.Quantity] = dataclasses.field(default_factory=dict)
  summary: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
  largest_weight: float | None = None

  @property
  def weighs(self) -> bool:
    """Whether updates are weighed."""
    return self.largest_weight is not None

  @functools.cached_property
  def numbers(self) -> whole_numbers.WholeNumbers:
    """The integers before the update."""
    weight = {told.WEIGHT: told.whole(self.largest_weight)} if self.largest_weight is not None else {}
    return whole_numbers.WholeNumbers(quantities={**weight, **self.quantities}, value_bits=self.value_bits)

  @functools.cached_property
  def vector_encoding(self) -> Any:
    """How the whole vector becomes integers, like `encoding`."""
    if not self.numbers.length:
      return self.encoding
    return whole_numbers.BesideUpdate(encoding=self.encoding, count=self.numbers.length)

  def length(self, update_length: int) -> int:
    """Returns how long the vector is with an update of so many numbers."""
    return self.numbers.length + update_length

  def sent_type(self, update_type: tff.Type) -> tff.Type:
    """Returns the type of what becomes the vector."""
    if not self.numbers.length:
      return update_type
    # In this order also when sorted, as concatenation does.
    return tff.types.to_type(collections.OrderedDict(
        beside=tff.TensorType(np.float32, [self.numbers.length]), update=update_type))

  def sent(self, update: Any, beside: Any) -> Any:
    """Returns what becomes the vector of one client; client graph code.

    Args:
      beside: Its weight, or what `learning.local_training.returned` puts in a weight's place.
    """
    alone = isinstance(beside, tf.Tensor)
    numbers = {} if alone else dict(beside['numbers'])
    if self.largest_weight is not None:
      numbers[told.WEIGHT] = beside if alone else beside['weight']
      update, _ = weigh(update, numbers[told.WEIGHT], self.largest_weight)
    if not self.numbers.length:
      return update
    return collections.OrderedDict(beside=self.numbers.encode(numbers), update=update)

  def update_of(self, sent: Any) -> Any:
    """Returns the update in what `sent` returns."""
    return tf.nest.map_structure(tf.identity, sent['update'] if self.numbers.length else sent)

  def opened(self, total: np.ndarray, clients: int) -> hidden_sum.Opened:
    """Returns what the sum of `clients` vectors says. Args: `total` is decoded, [length]; runs on the server."""
    count = self.numbers.length
    sums = self.numbers.decode(total[:count], clients)
    vector = np.asarray(total[count:], np.float32)
    weight = sums.pop(told.WEIGHT, 0.0)
    if self.largest_weight is not None:
      vector = np.append(vector, np.float32(weight / self.largest_weight))
    if not sums:
      return hidden_sum.Opened(vector=vector, weight=weight)
    summary = self.summary({name: tf.constant(value, tf.float64)
                            for name, value in (*sums.items(), ('clients', clients))})
    return hidden_sum.Opened(vector=vector, weight=weight, measured=collections.OrderedDict(
        (name, value.numpy()) for name, value in summary.items()))


class HidingFactory(tff.aggregators.WeightedAggregationFactory):
  """The innermost sum of a round, which stands alone on the clients: what follows it runs when it is open."""

  def __init__(self, upload: Upload, vector: HiddenVector):
    """Args: `upload` hides and sums vectors; where it masks, weights are of `masked_sum.with_mask_rows`."""
    self._upload = tff.aggregators.concat_factory(upload)
    self._masks = isinstance(upload, tff.aggregators.WeightedAggregationFactory)
    self._vector = vector

  def create(self, value_type, weight_type):
    sent_type = self._vector.sent_type(value_type)
    summed = self._upload.create(sent_type, *([masked_sum.ROWS_TYPE] if self._masks else []))

    @tff.tensorflow.computation(value_type, weight_type['told'] if self._masks else weight_type)
    def sent(value, beside):
      return self._vector.sent(value, beside)

    # The stack's result is unused until the sum is opened; its type must still be that of an update.
    @tff.tensorflow.computation(sent_type)
    def update_of(total):
      return self._vector.update_of(total)

    @tff.federated_computation(summed.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS),
                               tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      if self._masks:
        output = summed.next(state, tff.federated_map(sent, (value, weight['told'])), weight['mask_rows'])
      else:
        output = summed.next(state, tff.federated_map(sent, (value, weight)))
      return tff.templates.MeasuredProcessOutput(
          output.state, tff.federated_map(update_of, output.result), output.measurements)

    return tff.templates.AggregationProcess(summed.initialize, next_fn)


class SecureMeanFactory(tff.aggregators.WeightedAggregationFactory):
  """Divides a sum of weighed updates by the sum of weights; zero weight in total gives zero."""

  def __init__(self, sum_factory: tff.aggregators.UnweightedAggregationFactory, *, largest_weight: float):
    """Initializes the factory.

    Args:
      sum_factory: Sums structures of float32; its state is the mean's.
      largest_weight: As of `HiddenVector`.
    """
    self._sum_factory = sum_factory
    self._largest_weight = largest_weight

  def create(self, value_type, weight_type):
    weighed_type = tff.types.to_type(collections.OrderedDict(update=value_type, weight=np.float32))
    summed = self._sum_factory.create(weighed_type)

    @tff.tensorflow.computation(value_type, weight_type)
    def weighed(value, weight):
      scaled, share = weigh(value, weight, self._largest_weight)
      return collections.OrderedDict(update=scaled, weight=share)

    @tff.tensorflow.computation(weighed_type)
    def divide(total):
      return tf.nest.map_structure(lambda v: tf.math.divide_no_nan(v, total['weight']), total['update'])

    @tff.federated_computation(summed.initialize.type_signature.result,
                               tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      output = summed.next(state, tff.federated_map(weighed, (value, weight)))
      return tff.templates.MeasuredProcessOutput(
          output.state, tff.federated_map(divide, output.result), output.measurements)

    return tff.templates.AggregationProcess(summed.initialize, next_fn)


def weigh(value: Any, weight: tf.Tensor, largest_weight: float) -> tuple[Any, tf.Tensor]:
  """Returns the update times the weight's share of the largest one, and that share; client graph code."""
  share = tf.cast(weight, tf.float32) / largest_weight
  legal = tf.debugging.Assert(tf.logical_and(share >= 0, share <= 1), [
      f'secure sum: a client\'s weight lies outside 0..{largest_weight:g}, the largest number of examples that a '
      'client may have; nothing was encrypted and the round fails.'])
  with tf.control_dependencies([legal]):
    # A client without weight may hold anything, NaN included: it must not matter.
    return tf.nest.map_structure(lambda v: tf.math.multiply_no_nan(v, share), value), share
