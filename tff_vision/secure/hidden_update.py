"""What a client hides: the numbers that it tells, and behind them its update, weighed, in one vector.

The innermost sum of a round stands alone on the clients: what follows a sum (division, noise) runs when it is open.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import told
from tff_vision.secure import mean, whole_numbers
from tff_vision.secure.masking import masked_sum

Upload = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


class HiddenUpdateFactory(tff.aggregators.WeightedAggregationFactory):
  """Hides updates with what `learning.local_training.returned` puts beside their weights.

  The "weight" is a number, or has `weight` and `numbers`; where `upload` masks, it is of `masked_sum.with_mask_rows`.
  """

  def __init__(self, upload: Upload, *, numbers: whole_numbers.WholeNumbers, largest_weight: float | None):
    """Initializes the factory.

    Args:
      upload: Hides and sums vectors.
      numbers: What clients tell; with `told.WEIGHT` if updates are weighed.
      largest_weight: See `mean.SecureMeanFactory`; None counts every client once and sends no weight.
    """
    self._upload = tff.aggregators.concat_factory(upload)
    self._masks = isinstance(upload, tff.aggregators.WeightedAggregationFactory)
    self._numbers = numbers
    self._largest_weight = largest_weight

  def create(self, value_type, weight_type):
    told_type = weight_type['told'] if self._masks else weight_type
    sent_type = value_type
    if self._numbers.length:
      # In this order also when sorted, as concatenation does.
      sent_type = tff.types.to_type(collections.OrderedDict(
          beside=tff.TensorType(np.float32, [self._numbers.length]), update=value_type))
    summed = self._upload.create(sent_type, *([masked_sum.ROWS_TYPE] if self._masks else []))

    @tff.tensorflow.computation(value_type, told_type)
    def sent(value, beside):
      alone = isinstance(told_type, tff.TensorType)
      weight = beside if alone else beside['weight']
      numbers = {} if alone else dict(beside['numbers'])
      if self._largest_weight is not None:
        value, _ = mean.weigh(value, weight, self._largest_weight)
        numbers[told.WEIGHT] = weight
      if not self._numbers.length:
        return value
      return collections.OrderedDict(beside=self._numbers.encode(numbers), update=value)

    # The stack's result is unused until the sum is opened; its type must still be that of an update.
    @tff.tensorflow.computation(sent_type)
    def update_of(total):
      return tf.nest.map_structure(tf.identity, total['update'] if self._numbers.length else total)

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
