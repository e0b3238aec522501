"""Run by `test_whole_run`: the training pipeline on logical processors; then prints how TensorFlow was set, as JSON.

Arguments: flags of `pipelines.train`. How many threads there are and where a function runs is fixed once in a process,
so this is a program of its own.
"""

import json
import runpy
import sys

import tensorflow as tf
from tensorflow.python.eager import context  # Not public API: says where each operation ran.

from tff_vision.learning import evaluation


def main() -> None:
  tf.config.set_logical_device_configuration(
      tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 3)
  placed, watching, logits = [], [], evaluation.Evaluator.logits

  def watched(self, x):
    watching.append(self)
    if len(watching) > 1:  # The functions are placed, and what is new since then is of the export.
      return logits(self, x)
    context.enable_run_metadata()
    found = logits(self, x)
    for graph in context.export_run_metadata().partition_graphs:  # A function is placed when it is first called.
      placed.extend(node.device.rpartition('device:')[2] for node in graph.node if 'MatMul' in node.op)
    context.disable_run_metadata()
    return found

  evaluation.Evaluator.logits = watched
  sys.argv[0] = 'train'
  runpy.run_module('pipelines.train', run_name='__main__')
  print(json.dumps({'threads': tf.config.threading.get_intra_op_parallelism_threads(), 'placed': placed,
                    'began': context.context().config.intra_op_parallelism_threads}))


if __name__ == '__main__':
  main()
