"""What a comparison over hospitals needs beyond the experiment that its ways of training share."""

import dataclasses

from tff_vision.configs import option, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
  """Settings of the comparison of ways of training."""
  validation_share: float = option.option(
      0.2, 'Share of each hospital\'s training images kept for choosing its decision threshold.')
  personal_epochs: int = option.option(2, 'Local epochs alone, from the federated model on.')
  private_epsilon: float = option.option(4.0, 'Largest epsilon of any hospital, of the private ways.')
  private_clip_norm: float = option.option(1.0, 'L2 bound on the gradient of one image in these.')
  private_learning_rate: float = option.option(
      0.3, 'Learning rate of private training; larger batches bear a larger one.')
  private_batch_size: int = option.option(128, 'Expected images in a private step; noise is divided by it.')
  private_rounds: int = option.option(40, 'Rounds of private training: each one costs privacy.')
  bootstraps: int = option.option(1000, 'Resamples of the test images behind each interval.')

  def __post_init__(self):
    validate.open_unit(validation_share=self.validation_share)
    validate.positive(personal_epochs=self.personal_epochs, private_epsilon=self.private_epsilon,
                      private_clip_norm=self.private_clip_norm, private_learning_rate=self.private_learning_rate,
                      private_batch_size=self.private_batch_size, private_rounds=self.private_rounds,
                      bootstraps=self.bootstraps)
