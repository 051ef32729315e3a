"""What the enrollment says about each label, in closed form: Bayesian adaptation of class means to a speaker.

A language model that is meta-trained on tens or hundreds of speakers learns to normalise the speaker but hardly to
read the enrollment's labels. This module gives it that reading as structure: a two-covariance model of voice
embeddings (as in probabilistic linear discriminant analysis, Ioffe 2006) whose posterior over the speaker's own class
means is exact for any number of shots, and whose log-likelihood ratio biases the decoder towards label tokens.
"""

import torch
from torch import nn

from .configuration_emoicl import EmoIclConfig


class EmoIclSpeakerAdaptation(nn.Module):
    r"""
    Evidence of the enrollment for each label, from the model of an utterance's voice embedding

    `x = mean[label] + speaker + speaker_label + noise`, all Gaussian and independent over dimensions,

    where `speaker` is shared by all utterances of a person, and `speaker_label` by those with the same label. A
    label outside `config.label_words` has an unknown mean, so that it is known by its shots alone. The evidence is
    `scale * (log p(x | label, enrollment) - log p(x | label))`, which is 0 without enrollment.

    Args:
        config ([`EmoIclConfig`]): `adaptation_size`, `label_words` and `label_token_ids` are read.
    """

    def __init__(self, config: EmoIclConfig):
        super().__init__()
        size = config.adaptation_size
        self.label_token_ids = config.label_token_ids or []
        self.projection = nn.Linear(2 * config.speech_config.hidden_size, size)
        self.label_means = nn.Parameter(torch.zeros(len(self.label_token_ids), size))
        self.log_variances = nn.ParameterDict(
            {
                source: nn.Parameter(torch.zeros(size))
                for source in ("speaker", "speaker_label", "unknown_label", "noise")
            }
        )
        self.log_scale = nn.Parameter(torch.zeros(()))

    def embed(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Voice embeddings: a linear map of the mean and standard deviation of the speech features over time.

        Args:
            speech_features (`torch.Tensor` of shape `(num_utterances, num_frames, hidden_size)`): Encoder output.
            mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_utterances, adaptation_size)`.
        """
        statistics = pool_statistics(speech_features, mask).to(self.projection.weight.dtype)
        # The projection takes a large mean away, which half precision would not survive.
        with torch.autocast(statistics.device.type, enabled=False):
            return self.projection(statistics)

    def forward(
        self, voice_embeds: torch.Tensor, utterance_index: torch.Tensor, shot_labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, adaptation_size)`):
                Voice embeddings of all utterances of the batch.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`):
                Rows of `voice_embeds`: the enrollment, then the target; -1 for padding at the right.
            shot_labels (`torch.Tensor` of shape `(batch_size, num_shots, num_label_tokens)`):
                Label tokens of the enrollment with the end-of-sequence token, padded with -100.

        Returns:
            `tuple`: `label_tokens` of shape `(batch_size, num_labels, num_label_tokens)`, the known labels followed
            by the enrollment's, and their `evidence` of shape `(batch_size, num_labels)` in float32, -inf for rows
            of `label_tokens` that repeat another or pad.
        """
        shot_mask = utterance_index[:, 1:] >= 0
        target_column = shot_mask.sum(1, keepdim=True)
        target = voice_embeds[utterance_index.gather(1, target_column)[:, 0]].float()
        shots = voice_embeds[utterance_index[:, :-1].clamp(min=0)].float()

        label_tokens, slots, active = self.label_slots(shot_labels, shot_mask)
        prior_means, label_variances = self.priors(label_tokens.shape[1])
        posterior_means, variances = self.posterior(
            shots, slots, shot_mask, prior_means, label_variances, self.variance("speaker"), self.variance("noise")
        )
        prior_variances = self.variance("speaker") + label_variances + self.variance("noise")
        evidence = log_density(target, posterior_means, variances) - log_density(target, prior_means, prior_variances)
        evidence = evidence * self.log_scale.exp()
        return label_tokens, evidence.masked_fill(~active, float("-inf"))

    def variance(self, source: str) -> torch.Tensor:
        return self.log_variances[source].float().exp()

    def priors(self, num_slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Prior means and label variances, of shape `(num_slots, adaptation_size)`: known labels, then unknown."""
        num_unknown = num_slots - len(self.label_means)
        known = self.variance("speaker_label").expand(len(self.label_means), -1)
        unknown = (self.variance("speaker_label") + self.variance("unknown_label")).expand(num_unknown, -1)
        means = torch.cat([self.label_means.float(), self.label_means.new_zeros(unknown.shape, dtype=torch.float)])
        return means, torch.cat([known, unknown])

    def label_slots(
        self, shot_labels: torch.Tensor, shot_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gives each label of a prompt one slot: its place among the known labels, or that of its first shot.

        Returns:
            `tuple`: the tokens of each slot `(batch_size, num_slots, num_label_tokens)`, the slot of each shot
            `(batch_size, num_shots)`, and which slots are in use `(batch_size, num_slots)`.
        """
        batch_size, num_shots, length = shot_labels.shape
        num_known = len(self.label_token_ids)
        length = max([length, *map(len, self.label_token_ids)])
        known = shot_labels.new_tensor([ids + [-100] * (length - len(ids)) for ids in self.label_token_ids])
        known = known.view(1, num_known, length).expand(batch_size, -1, -1)
        shot_labels = nn.functional.pad(shot_labels, (0, length - shot_labels.shape[-1]), value=-100)
        label_tokens = torch.cat([known, shot_labels], dim=1)

        same = (shot_labels[:, :, None] == label_tokens[:, None]).all(-1)
        slots = same.int().argmax(-1)
        own_slot = torch.arange(num_known, num_known + num_shots, device=slots.device)
        first_of_its_kind = (slots == own_slot) & shot_mask
        active = torch.cat([first_of_its_kind.new_ones(batch_size, num_known), first_of_its_kind], dim=1)
        return label_tokens, slots, active

    @staticmethod
    def posterior(
        shots: torch.Tensor,
        slots: torch.Tensor,
        shot_mask: torch.Tensor,
        prior_means: torch.Tensor,
        label_variances: torch.Tensor,
        speaker_variance: torch.Tensor,
        noise_variance: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predictive mean and variance of the target's embedding under each label, given the shots.

        Gaussian conditioning, dimension by dimension: two utterances of a speaker covary by the speaker's variance,
        and by the label's variance too if they share the label.

        Returns:
            `tuple`: means and variances of shape `(batch_size, num_slots, adaptation_size)`.
        """
        real = shot_mask[:, None, :].float()
        same_label = (slots[:, :, None] == slots[:, None, :])[:, None]
        shot_label_variances = label_variances[slots].transpose(1, 2)
        covariance = speaker_variance[:, None, None] + shot_label_variances[..., None] * same_label
        # Shots that only pad become independent of all others.
        covariance = covariance * real[..., None, :] * real[..., None]
        noise = torch.diag_embed(noise_variance[:, None] * real + (1 - real))
        covariance = covariance + noise

        in_slot = slots[:, None, :] == torch.arange(len(prior_means), device=slots.device)[:, None]
        cross = speaker_variance[:, None, None] + label_variances.T[..., None] * in_slot[:, None]
        cross = cross * real[:, None]
        residuals = (shots - prior_means[slots]).transpose(1, 2)
        gain = torch.linalg.solve(covariance, cross.transpose(-1, -2)).transpose(-1, -2)

        means = prior_means + (gain * residuals[:, :, None]).sum(-1).transpose(1, 2)
        variances = speaker_variance + label_variances + noise_variance - (gain * cross).sum(-1).transpose(1, 2)
        return means, variances


def pool_statistics(speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation over the real frames, in float32, of shape `(num_utterances, 2 * hidden_size)`."""
    weights = mask[..., None].float()
    count = weights.sum(1)
    mean = (speech_features.float() * weights).sum(1) / count
    variance = ((speech_features.float() - mean[:, None]).square() * weights).sum(1) / count
    return torch.cat([mean, (variance + 1e-8).sqrt()], dim=-1)


def log_density(x: torch.Tensor, means: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
    """Log-density of `x` `(batch_size, size)` under diagonal Gaussians `(..., num_slots, size)`, up to a constant."""
    return -0.5 * ((x[:, None] - means).square() / variances + variances.log()).sum(-1)


def label_token_bias(
    decoder_input_ids: torch.Tensor, label_tokens: torch.Tensor, evidence: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    r"""
    Spreads the evidence for whole labels over the decoder's steps: the bias of a token is the mean evidence of the
    labels that it leads to, less that of the labels still possible before it. Over the tokens of a label this sums
    to the label's evidence less a constant, whatever the other labels; with equal evidence it is 0 everywhere.

    Args:
        decoder_input_ids (`torch.Tensor` of shape `(batch_size, num_steps)`):
            Start token, then the tokens so far.
        label_tokens (`torch.Tensor` of shape `(batch_size, num_labels, num_label_tokens)`):
            Tokens of each label with the end-of-sequence token, padded with -100.
        evidence (`torch.Tensor` of shape `(batch_size, num_labels)`): Evidence of each label, -inf for no label.
        vocab_size (`int`): Number of tokens.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_steps, vocab_size)`: what to add to the logits, in float32.
    """
    num_steps = decoder_input_ids.shape[1]
    tokens = label_tokens[..., :num_steps].transpose(1, 2)
    tokens = nn.functional.pad(tokens, (0, 0, 0, num_steps - tokens.shape[1]), value=-100)
    agrees = decoder_input_ids[:, 1:, None] == tokens[:, :-1]
    possible = torch.cat([evidence.isfinite()[:, None], agrees], dim=1).cumprod(1).bool() & (tokens >= 0)

    joined = possible[:, :, None, :] & (tokens[..., None] == tokens[..., None, :])
    bias = mean_evidence(evidence[:, None, None], joined) - mean_evidence(evidence[:, None], possible)[..., None]
    bias = bias.masked_fill(~possible, 0.0)
    empty = bias.new_zeros(*decoder_input_ids.shape, vocab_size)
    # Labels that lead to the same token agree on its bias; the others must not overwrite it.
    return empty.scatter_add(2, tokens.clamp(min=0), bias) / counts(tokens, possible, vocab_size)


def counts(tokens: torch.Tensor, possible: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """How many possible labels lead to each token, at least 1, of shape `(batch_size, num_steps, vocab_size)`."""
    empty = torch.zeros(*tokens.shape[:2], vocab_size, device=tokens.device)
    return empty.scatter_add(2, tokens.clamp(min=0), possible.float()).clamp(min=1)


def mean_evidence(evidence: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """`log mean exp` of the evidence over the last axis where `among` holds, 0 where it holds nowhere."""
    evidence = evidence.masked_fill(~among, float("-inf"))
    anywhere = among.any(-1)
    # A finite stand-in keeps the gradient of an empty sum free of NaN.
    evidence = evidence.masked_fill(~anywhere[..., None], 0.0)
    mean = evidence.logsumexp(-1) - among.sum(-1).clamp(min=1).log()
    return mean.masked_fill(~anywhere, 0.0)


__all__ = ["EmoIclSpeakerAdaptation", "label_token_bias", "pool_statistics"]
