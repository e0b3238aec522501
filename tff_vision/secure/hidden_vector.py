"""What a client hides in a secure sum, and what its sum says: the one place that knows where a weight stands.

A client hides one vector: first the numbers that it reports (its weight first, if it has one), then its update. The
update is multiplied by weight / largest possible weight, so a weighted update keeps its range; the largest possible
weight is public. The server learns the sum of weighted updates and the sum of weights, and nothing about one client's
weight. `SecureMeanFactory` follows the sum; the last entry of its innermost sum is the sum of these weight ratios.
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
  """The layout of the vector that each client of a run hides.

  Attributes:
    encoding: Maps an update to integers, like `fixed_point.Encoding`.
    value_bits: Bits of each integer of the reported numbers.
    quantities: The numbers reported beside the update, without a weight.
    summary: As in `told.Told.summary`.
    largest_weight: The largest legal weight; a client with a larger one fails the round before anything is hidden.
      None: every update counts once, and no weight is sent.
  """
  encoding: Any
  value_bits: int
  quantities: Mapping[str, told.Quantity] = dataclasses.field(default_factory=dict)
  summary: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
  largest_weight: float | None = None

  @property
  def weighs(self) -> bool:
    """Whether updates are weighted."""
    return self.largest_weight is not None

  @functools.cached_property
  def numbers(self) -> whole_numbers.WholeNumbers:
    """The integers that precede the update."""
    weight = {told.WEIGHT: told.whole(self.largest_weight)} if self.largest_weight is not None else {}
    return whole_numbers.WholeNumbers(quantities={**weight, **self.quantities}, value_bits=self.value_bits)

  @functools.cached_property
  def vector_encoding(self) -> Any:
    """Maps the whole vector to integers, like `encoding`."""
    if not self.numbers.length:
      return self.encoding
    return whole_numbers.BesideUpdate(encoding=self.encoding, count=self.numbers.length)

  def length(self, update_length: int) -> int:
    """Returns the length of the vector for an update of `update_length` numbers."""
    return self.numbers.length + update_length

  def sent_type(self, update_type: tff.Type) -> tff.Type:
    """Returns the type of the structure that is flattened to the vector."""
    if not self.numbers.length:
      return update_type
    # Sorting by name keeps this order, which concatenation uses.
    return tff.types.to_type(collections.OrderedDict(
        beside=tff.TensorType(np.float32, [self.numbers.length]), update=update_type))

  def sent(self, update: Any, beside: Any) -> Any:
    """Returns the structure that is flattened to one client's vector; client graph code.

    Args:
      beside: The client's weight, or the value that `learning.local_training.returned` gives instead of a weight.
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
    """Returns the update in a result of `sent`."""
    return tf.nest.map_structure(tf.identity, sent['update'] if self.numbers.length else sent)

  def opened(self, total: np.ndarray, clients: int) -> hidden_sum.Opened:
    """Returns the opened sum of `clients` vectors. Args: `total` is decoded, [length]; runs on the server."""
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
  """The innermost sum of a round, and the only sum in its stack: what follows it runs after the sum is opened."""

  def __init__(self, upload: Upload, vector: HiddenVector):
    """Args: `upload` hides and sums vectors; where it masks, its weights come from `masked_sum.with_mask_rows`."""
    self._upload = tff.aggregators.concat_factory(upload)
    self._masks = isinstance(upload, tff.aggregators.WeightedAggregationFactory)
    self._vector = vector

  def create(self, value_type, weight_type):
    sent_type = self._vector.sent_type(value_type)
    summed = self._upload.create(sent_type, *([masked_sum.ROWS_TYPE] if self._masks else []))

    @tff.tensorflow.computation(value_type, weight_type['told'] if self._masks else weight_type)
    def sent(value, beside):
      return self._vector.sent(value, beside)

    # The stack's result is not used until the sum is opened, but its type must be that of an update.
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
  """Divides a sum of weighted updates by the sum of weights; a total weight of zero gives zero."""

  def __init__(self, sum_factory: tff.aggregators.UnweightedAggregationFactory, *, largest_weight: float):
    """Initializes the factory.

    Args:
      sum_factory: Sums structures of float32; its state becomes the mean's state.
      largest_weight: As in `HiddenVector`.
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
  """Returns the update times weight / largest weight, and that ratio; client graph code."""
  share = tf.cast(weight, tf.float32) / largest_weight
  legal = tf.debugging.Assert(tf.logical_and(share >= 0, share <= 1), [
      f'secure sum: a client\'s weight lies outside 0..{largest_weight:g}, the largest number of examples that a '
      'client may have; nothing was encrypted and the round fails.'])
  with tf.control_dependencies([legal]):
    # A client of weight zero may hold any value, NaN included; it must not affect the sum.
    return tf.nest.map_structure(lambda v: tf.math.multiply_no_nan(v, share), value), share
