"""How familiar a recording sounds: where its distance from the training recordings is among those of others."""

import torch
from torch import nn


# So many, that the rare tail has steps of half a percent.
NUM_QUANTILES = 201
# Of what sounds less familiar than this, an answer deserves a note.
UNFAMILIAR = 0.05


class EmoIclFamiliarity(nn.Module):
    r"""
    The share of the training utterances, each as heard by statistics of other speakers than its own, that sound no
    more familiar than an utterance: 0.5 is as usual, and 0.01 what one in a hundred of them has. (The p-value of
    conformal anomaly detection, Laxhammar and Falkman 2011.)

    What it goes by is the Mahalanobis distance of pooled speech features in the directions in which training
    utterances vary least. What varies is the voice, what is said and how; a room, a microphone or a kind of sound that
    was never there leaves what all of them have in common.

    Its statistics are buffers, because no gradient ever reaches them.

    Args:
        feature_size (`int`): Number of pooled speech features.
        num_directions (`int`): How many directions the distance is measured in.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    log_distances: torch.Tensor

    def __init__(self, feature_size: int, num_directions: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(num_directions, feature_size))
        self.register_buffer("bias", torch.zeros(num_directions))
        self.register_buffer("log_distances", torch.zeros(NUM_QUANTILES))

    def log_distance(self, statistics: torch.Tensor) -> torch.Tensor:
        """Logarithm of the mean squared deviation over the directions, of shape `(num_utterances,)`, in float32."""
        with torch.autocast(statistics.device.type, enabled=False):
            deviations = nn.functional.linear(statistics.float(), self.weight.float(), self.bias.float())
        return deviations.square().mean(-1).log()

    def forward(self, statistics: torch.Tensor) -> torch.Tensor:
        """
        Args:
            statistics (`torch.Tensor` of shape `(num_utterances, feature_size)`): Pooled speech features.

        Returns:
            `torch.Tensor` of shape `(num_utterances,)`: from 0, as nothing in training, to 1; in float32.
        """
        distances, quantiles = self.log_distance(statistics), self.log_distances.float()
        above = torch.searchsorted(quantiles, distances).clamp(1, len(quantiles) - 1)
        low, high = quantiles[above - 1], quantiles[above]
        between = ((distances - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        return 1 - (above - 1 + between) / (len(quantiles) - 1)


__all__ = ["NUM_QUANTILES", "UNFAMILIAR", "EmoIclFamiliarity"]
