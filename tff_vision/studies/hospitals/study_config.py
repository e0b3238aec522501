"""What a comparison over hospitals needs beyond the experiment that its ways of training share."""

import dataclasses

from tff_vision.configs import validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
  """How hospitals compare ways of training.

  Attributes:
    validation_share: This share of each hospital's training images is kept for choosing its decision threshold.
    personal_epochs: Local epochs of each hospital, alone, from the federated model on.
    private_epsilon: The largest epsilon of any hospital, of the ways with differential privacy.
    private_clip_norm: L2 bound on the gradient of one image in these.
    private_learning_rate: Of hospitals in these; larger batches bear a larger one.
    private_batch_size: Expected images in a step of these; noise is divided by it.
    private_rounds: Rounds of these: each one costs privacy.
    bootstraps: Resamples of the test images behind each interval.
  """
  validation_share: float = 0.2
  personal_epochs: int = 2
  private_epsilon: float = 4.0
  private_clip_norm: float = 1.0
  private_learning_rate: float = 0.3
  private_batch_size: int = 128
  private_rounds: int = 40
  bootstraps: int = 1000

  def __post_init__(self):
    validate.open_unit(validation_share=self.validation_share)
    validate.positive(personal_epochs=self.personal_epochs, private_epsilon=self.private_epsilon,
                      private_clip_norm=self.private_clip_norm, private_learning_rate=self.private_learning_rate,
                      private_batch_size=self.private_batch_size, private_rounds=self.private_rounds,
                      bootstraps=self.bootstraps)
