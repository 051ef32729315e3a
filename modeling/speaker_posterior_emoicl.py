"""What an enrollment tells of its speaker in closed form: Gaussian conditioning, dimension by dimension."""

from typing import NamedTuple

import torch


class PriorScales(NamedTuple):
    """
    By which factors a recording may differ from the training corpora. All combinations are tried; the first of each
    is 1: as there.

    Args:
        speaker (`tuple[float]`): Of the variance of speakers: its room and its voices.
        noise (`tuple[float]`): Of the variance of noise.
        means (`tuple[float]`): Of the labels' means: whether labels sound as they do there.
    """

    speaker: tuple[float, ...] = (1.0,)
    noise: tuple[float, ...] = (1.0,)
    means: tuple[float, ...] = (1.0,)


PLAIN_PRIOR = PriorScales()
# Of a few values on speakers of other corpora, no finer steps did better.
PROMPT_SCALES = PriorScales(speaker=(1.0, 8.0, 64.0), noise=(1.0, 0.35, 0.6, 1.7), means=(1.0, 0.0))


class SpeakerPrior(NamedTuple):
    """
    What is known before any enrollment, by the Gaussian model of [`EmoIclSpeakerAdaptation`]: one prior for each
    combination of [`PriorScales`] and each source. Its tensors broadcast over the axes
    `(num_speaker_scales, num_noise_scales, num_mean_scales, num_sources, batch_size, ...)`, called `...` below.

    Args:
        means (`torch.Tensor` of shape `(..., num_slots, size)`): Means of the labels.
        label_variances (`torch.Tensor` of shape `(..., num_slots, size)`): Variances of `speaker_label`.
        speaker (`torch.Tensor` of shape `(..., size)`): Variance of `speaker`.
        noise (`torch.Tensor` of shape `(..., size)`): Variance of `noise`.
        probe_weight (`torch.Tensor` of shape `(..., 1)`): Weight of the probe's log-probabilities.
        prototype_weight (`torch.Tensor` of shape `(..., 1)`): Weight of the prototypes' log-likelihood ratios.
    """

    means: torch.Tensor
    label_variances: torch.Tensor
    speaker: torch.Tensor
    noise: torch.Tensor
    probe_weight: torch.Tensor
    prototype_weight: torch.Tensor


class SpeakerPosterior(NamedTuple):
    """
    What the enrollment tells of its speaker under a [`SpeakerPrior`], over the same axes.

    Args:
        center (`torch.Tensor` of shape `(..., size)`): Mean of `speaker`.
        variance (`torch.Tensor` of shape `(..., size)`): Variance of `speaker`.
        prototypes (`torch.Tensor` of shape `(..., num_slots, size)`): Means of utterances of each label.
        spreads (`torch.Tensor` of shape `(..., num_slots, size)`): Their variances.
        label_shots (`torch.Tensor` of shape `(num_sources, batch_size, num_slots, size)`): Mean of a label's shots.
        enrolled (`torch.Tensor` of shape `(batch_size, num_slots)`): Which labels have shots.
        log_likelihood (`torch.Tensor` of shape `(...)`): Log-density of the enrollment, up to a constant.
    """

    center: torch.Tensor
    variance: torch.Tensor
    prototypes: torch.Tensor
    spreads: torch.Tensor
    label_shots: torch.Tensor
    enrolled: torch.Tensor
    log_likelihood: torch.Tensor

    @property
    def center_by_known_means(self) -> torch.Tensor:
        """
        `center` if labels sound as they do in the training corpora, of shape `(..., size)`. That is where a probe of
        these labels must hear the speaker: around a center that takes a shot's label for a part of the speaker, all
        that sounds like the shot sounds like no label, so that its label is never answered.
        """
        return self.center[:, :, :1]

    def certainty(self, prior: SpeakerPrior) -> torch.Tensor:
        """The share of the speaker's variance that the enrollment explains, of shape `(..., 1)`."""
        return 1 - self.variance.sum(-1, keepdim=True) / prior.speaker.sum(-1, keepdim=True)


def speaker_posterior(shots: torch.Tensor, of_label: torch.Tensor, prior: SpeakerPrior) -> SpeakerPosterior:
    """
    What shots with labels tell of their speaker.

    Args:
        shots (`torch.Tensor` of shape `(num_sources, batch_size, num_shots, size)`): Embeddings of the enrollment.
        of_label (`torch.Tensor` of shape `(batch_size, num_shots, num_slots)`): Their labels, see [`membership`].
        prior ([`SpeakerPrior`]): What holds for everybody.

    Returns:
        [`SpeakerPosterior`]
    """
    of_label = of_label.to(shots.dtype)
    label_shots, num_shots = shots_of_labels(shots, of_label)
    precision, residuals = shot_precision(label_shots, num_shots, prior)
    told = condition(precision, residuals, prior)
    # Of the shots around their label's mean, of these means around the speaker, and of the speaker.
    is_shot = of_label.sum(-1, keepdim=True)
    within = ((shots - of_label @ label_shots).square() * is_shot).sum(-2)
    within = within / prior.noise + (num_shots - 1).clamp(min=0).sum(1) * prior.noise.log()
    between = (precision * residuals.square() - torch.where(num_shots > 0, precision, 1.0).log()).sum(-2)
    shift = (prior.speaker / told["variance"]).log() - told["center"].square() / told["variance"]
    # Less what is expected of it, as the digits of a large sum would be lost.
    log_likelihood = -0.5 * (within + between + shift - is_shot.sum(1)).sum(-1)
    enrolled = num_shots[..., 0] > 0
    return SpeakerPosterior(**told, label_shots=label_shots, enrolled=enrolled, log_likelihood=log_likelihood)


def membership(slots: torch.Tensor, shot_mask: torch.Tensor, num_slots: int) -> torch.Tensor:
    """Which label each shot has, `(batch_size, num_shots, num_slots)`: True at that one, where there is a shot.

    Args:
        slots (`torch.Tensor` of shape `(batch_size, num_shots)`): Number of each shot's label.
        shot_mask (`torch.Tensor` of shape `(batch_size, num_shots)`): True for real shots.
        num_slots (`int`): How many labels there are.
    """
    of_label = slots[..., None] == torch.arange(num_slots, device=slots.device)
    return of_label & shot_mask[..., None]


def shots_of_labels(shots: torch.Tensor, of_label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each label's shots, and how many there are, of shape `(..., num_slots, size)` and `(..., num_slots,
    1)`. A shot may be one of several labels in part."""
    num_shots = of_label.sum(-2)[..., None]
    return (of_label.transpose(-1, -2) @ shots) / num_shots.clamp(min=1e-6), num_shots


def shot_precision(
    label_shots: torch.Tensor, num_shots: torch.Tensor, prior: SpeakerPrior
) -> tuple[torch.Tensor, torch.Tensor]:
    """How precisely the shots of each label tell of the speaker, and by how much they differ from everybody's."""
    residuals = torch.where(num_shots > 0, label_shots - prior.means, 0.0)
    return num_shots / (num_shots * prior.label_variances + prior.noise[..., None, :]), residuals


def condition(precision: torch.Tensor, residuals: torch.Tensor, prior: SpeakerPrior) -> dict[str, torch.Tensor]:
    """The speaker and the speaker's prototypes, by their name in [`SpeakerPosterior`], given what [`shot_precision`]
    makes of the shots: a label's mean residual is `speaker`, plus what differs by label, plus the mean of what differs
    by shot."""
    variance = 1 / (1 / prior.speaker + precision.sum(-2))
    center = variance * (precision * residuals).sum(-2)
    gain = prior.label_variances * precision
    prototypes = prior.means + center[..., None, :] + gain * (residuals - center[..., None, :])
    unexplained = prior.label_variances * (1 - gain) + (1 - gain).square() * variance[..., None, :]
    spreads = prior.noise[..., None, :] + unexplained
    return {"center": center, "variance": variance, "prototypes": prototypes, "spreads": spreads}


def log_density(x: torch.Tensor, means: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
    """Log-density of `x` `(..., size)` under diagonal Gaussians `(..., num_slots, size)`, up to a constant."""
    # The 1 is what is expected of the first term: the digits of a large sum would be lost.
    return -0.5 * ((x[..., None, :] - means).square() / variances + variances.log() - 1).sum(-1)


__all__ = ["PLAIN_PRIOR", "PROMPT_SCALES", "PriorScales", "SpeakerPosterior", "SpeakerPrior"]
