"""What statistics in closed form say about each label: a probe centered on the speaker, and the speaker's prototypes.

A language model that is meta-trained on tens or hundreds of speakers learns to normalize the speaker but hardly to
read the enrollment's labels. This module gives it that reading as structure: a two-covariance model of voice
embeddings (as in probabilistic linear discriminant analysis, Ioffe 2006) whose posterior over the speaker and over the
speaker's own class means is exact for any number of shots. Its evidence is blended with the language model's scores of
candidate labels, and biases the decoder towards their tokens where a text is written.
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import nn

from .configuration_emoicl import EmoIclConfig


# By how much another recording may differ from the training corpus: its room and its voices, its noise, and whether
# its labels sound as they do there. Of a few values on speakers of other corpora, no finer steps did better.
SPEAKER_SCALES = (1.0, 8.0, 64.0)
NOISE_SCALES = (0.35, 0.6, 1.0, 1.7)
MEAN_SCALES = (1.0, 0.0)


class SpeakerPrior(NamedTuple):
    """
    What is known before any enrollment, by the Gaussian model of [`EmoIclSpeakerAdaptation`].

    Args:
        means (`torch.Tensor` of shape `(num_slots, size)`): Means of the labels.
        label_variances (`torch.Tensor` of shape `(num_slots, size)`): Variances of `speaker_label`.
        speaker (`torch.Tensor` of shape `(size,)`): Variance of `speaker`.
        noise (`torch.Tensor` of shape `(size,)`): Variance of `noise`.
        probe_weight (`float`): Weight of the probe's log-probabilities.
        prototype_weight (`float`): Weight of the prototypes' log-likelihood ratios.
    """

    means: torch.Tensor
    label_variances: torch.Tensor
    speaker: torch.Tensor
    noise: torch.Tensor
    probe_weight: float
    prototype_weight: float

    def scaled(self, speaker: float, noise: float, means: float) -> "SpeakerPrior":
        """The prior of recordings that differ from the training corpus by these factors.

        The weights were chosen on the training corpora. Less noise would make the prototypes surer than they were
        there, and a probe is worth less where labels sound otherwise.
        """
        return SpeakerPrior(
            means * self.means,
            self.label_variances,
            speaker * self.speaker,
            noise * self.noise,
            self.probe_weight * (1 + means) / 2,
            self.prototype_weight * min(noise, 1.0) ** 2,
        )


class SpeakerPosterior(NamedTuple):
    """
    What the enrollment tells of its speaker, by the Gaussian model of [`EmoIclSpeakerAdaptation`].

    Args:
        center (`torch.Tensor` of shape `(batch_size, size)`): Mean of `speaker`.
        variance (`torch.Tensor` of shape `(batch_size, size)`): Variance of `speaker`.
        prototypes (`torch.Tensor` of shape `(batch_size, num_slots, size)`): Means of utterances of each label.
        spreads (`torch.Tensor` of shape `(batch_size, num_slots, size)`): Their variances.
        enrolled (`torch.Tensor` of shape `(batch_size, num_slots)`): Which labels have shots.
        log_likelihood (`torch.Tensor` of shape `(batch_size,)`): Log-density of the enrollment, up to a constant.
    """

    center: torch.Tensor
    variance: torch.Tensor
    prototypes: torch.Tensor
    spreads: torch.Tensor
    enrolled: torch.Tensor
    log_likelihood: torch.Tensor


class EmoIclSpeakerAdaptation(nn.Module):
    r"""
    Evidence for each label, from the model of an utterance's voice embedding

    `x = mean[label] + speaker + speaker_label + noise`, all Gaussian and independent over dimensions,

    where `speaker` is shared by all utterances of a person, and `speaker_label` by those with the same label. A
    label outside `config.label_words` has an unknown mean, so that it is known by its shots alone. The evidence has
    two parts, weighted by `config.probe_weight` and `config.prototype_weight`:

    1. *Centered probe*: log-probabilities of two linear classifiers of the target less the posterior mean of
       `speaker`, mixed by the share of the speaker's variance that the enrollment explains: one that was trained on
       utterances as they are, and one that was trained on centered ones. Without enrollment it is the first alone.
       Labels outside `config.label_words` are not in it; they count as one of average probability.
    2. *Prototypes*: `log p(x | label, enrollment) - log p(x | label, speaker)`, which is 0 for labels not enrolled. Of
       labels outside `config.label_words` nobody knows the second term; that of an average known label's prototype
       takes its place. All of it counts by `config.enrolled_share_exponent` for less while few labels are enrolled.

    With `config.fit_prior_to_prompt` the evidence is the mean over priors whose speaker and noise are larger or
    smaller, and whose label means are all alike, by how probable each makes the prompt's own utterances. Otherwise a
    shot from a room that the training corpus knows nothing of is nearer to any other utterance from there than to
    every mean, so that the likelihood ratio of its label explodes.

    Args:
        config ([`EmoIclConfig`]): `adaptation_size`, `label_words`, `label_token_ids`, the two weights and
            `fit_prior_to_prompt` are read.
    """

    def __init__(self, config: EmoIclConfig):
        super().__init__()
        self.config = config
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
        self.probe = nn.Linear(size, len(self.label_token_ids))
        self.centred_probe = nn.Linear(size, len(self.label_token_ids))

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
        label_tokens, slots, active = self.label_slots(shot_labels, utterance_index[:, 1:] >= 0)
        evidence = self.evidence(voice_embeds, utterance_index, slots, label_tokens.shape[1])
        return label_tokens, evidence.masked_fill(~active, float("-inf"))

    def evidence(
        self,
        voice_embeds: torch.Tensor,
        utterance_index: torch.Tensor,
        slots: torch.Tensor,
        num_slots: int | None = None,
    ) -> torch.Tensor:
        """
        The evidence for labels that are given by their number: the known ones, then others.

        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, adaptation_size)`):
                Voice embeddings of all utterances of the batch.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`):
                Rows of `voice_embeds`: the enrollment, then the target; -1 for padding at the right.
            slots (`torch.Tensor` of shape `(batch_size, num_shots)`): Number of each shot's label.
            num_slots (`int`, *optional*): How many labels there are; by default the known ones.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_slots)`, in float32.
        """
        shot_mask = utterance_index[:, 1:] >= 0
        target_column = shot_mask.sum(1, keepdim=True)
        target = voice_embeds[utterance_index.gather(1, target_column)[:, 0]].float()
        shots = voice_embeds[utterance_index[:, :-1].clamp(min=0)].float()
        # In half precision a log-density over hundreds of dimensions would be noise.
        with torch.autocast(target.device.type, enabled=False):
            prior = self.prior(num_slots or len(self.label_means))
            if not self.config.fit_prior_to_prompt or not shots.shape[1]:
                return self.evidence_under(prior, target, shots, slots, shot_mask)[0]
            readings = [
                self.evidence_under(prior.scaled(*scales), target, shots, slots, shot_mask)
                for scales in itertools.product(SPEAKER_SCALES, NOISE_SCALES, MEAN_SCALES)
            ]
        evidence, log_likelihoods = (torch.stack(parts) for parts in zip(*readings, strict=True))
        return (log_likelihoods.softmax(0)[..., None] * evidence).sum(0)

    def evidence_under(
        self,
        prior: SpeakerPrior,
        target: torch.Tensor,
        shots: torch.Tensor,
        slots: torch.Tensor,
        shot_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The evidence under one prior, of shape `(batch_size, num_slots)`, and the log-density of all utterances."""
        posterior = self.posterior(shots, slots, shot_mask, prior)
        probe = prior.probe_weight * self.probe_evidence(target, posterior, prior)
        of_labels = log_density(target, posterior.prototypes, posterior.spreads)
        known = torch.arange(len(prior.means), device=slots.device) < len(self.label_means)
        of_target = of_labels.masked_fill(~(known | posterior.enrolled), float("-inf")).logsumexp(-1)
        evidence = probe + self.prototype_evidence(target, posterior, prior, of_labels)
        return evidence, posterior.log_likelihood + of_target

    def variance(self, source: str) -> torch.Tensor:
        return self.log_variances[source].float().exp()

    def prior(self, num_slots: int) -> SpeakerPrior:
        """What holds for everybody: labels that are known, then `num_slots` less these that are not."""
        num_unknown = num_slots - len(self.label_means)
        known = self.variance("speaker_label").expand(len(self.label_means), -1)
        unknown = (self.variance("speaker_label") + self.variance("unknown_label")).expand(num_unknown, -1)
        means = torch.cat([self.label_means.float(), self.label_means.new_zeros(unknown.shape, dtype=torch.float)])
        return SpeakerPrior(
            means,
            torch.cat([known, unknown]),
            self.variance("speaker"),
            self.variance("noise"),
            self.config.probe_weight,
            self.config.prototype_weight,
        )

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

    def posterior(
        self, shots: torch.Tensor, slots: torch.Tensor, shot_mask: torch.Tensor, prior: SpeakerPrior
    ) -> SpeakerPosterior:
        """Gaussian conditioning, dimension by dimension: a label's mean residual is `speaker`, plus what differs by
        label, plus the mean of what differs by shot.

        Args:
            shots (`torch.Tensor` of shape `(batch_size, num_shots, size)`): Voice embeddings of the enrollment.
            slots (`torch.Tensor` of shape `(batch_size, num_shots)`): Label of each shot, as a row of `prior.means`.
            shot_mask (`torch.Tensor` of shape `(batch_size, num_shots)`): True for real shots.
            prior ([`SpeakerPrior`]): What holds for everybody.

        Returns:
            [`SpeakerPosterior`]
        """
        means, label_variances, speaker, noise, *_ = prior
        of_label = slots[..., None] == torch.arange(len(means), device=slots.device)
        of_label = (of_label & shot_mask[..., None]).to(shots.dtype)
        num_shots = of_label.sum(1)[..., None]
        label_shots = (of_label.transpose(1, 2) @ shots) / num_shots.clamp(min=1)
        residuals = torch.where(num_shots > 0, label_shots - means, 0.0)

        precision = num_shots / (num_shots * label_variances + noise)
        variance = 1 / (1 / speaker + precision.sum(1))
        center = variance * (precision * residuals).sum(1)

        gain = label_variances * precision
        prototypes = means + center[:, None] + gain * (residuals - center[:, None])
        spreads = noise + label_variances * (1 - gain) + (1 - gain).square() * variance[:, None]

        # Of the shots around their label's mean, of these means around the speaker, and of the speaker.
        within = (shots - of_label @ label_shots).square() * shot_mask[..., None]
        within = within.sum(1) / noise + (num_shots - 1).clamp(min=0).sum(1) * noise.log()
        between = (precision * residuals.square() - torch.where(num_shots > 0, precision, 1.0).log()).sum(1)
        shift = (speaker / variance).log() - center.square() / variance
        log_likelihood = -0.5 * (within + between + shift).sum(-1)
        return SpeakerPosterior(center, variance, prototypes, spreads, num_shots[..., 0] > 0, log_likelihood)

    def probe_evidence(self, target: torch.Tensor, posterior: SpeakerPosterior, prior: SpeakerPrior) -> torch.Tensor:
        """Log-probabilities of the known labels by the probes, and that of an average one for others.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_slots)`.
        """
        num_known, num_slots = len(self.label_means), len(prior.means)
        if not num_known:
            return target.new_zeros(len(target), num_slots)
        certainty = 1 - posterior.variance.sum(-1, keepdim=True) / prior.speaker.sum()
        centered = (target - posterior.center).to(self.probe.weight.dtype)
        plain, personal = (probe(centered).float().log_softmax(-1) for probe in (self.probe, self.centred_probe))
        known = (1 - certainty) * plain + certainty * personal
        average = known.logsumexp(-1, keepdim=True) - torch.tensor(float(num_known)).log()
        return torch.cat([known, average.expand(-1, num_slots - num_known)], dim=1)

    def prototype_evidence(
        self, target: torch.Tensor, posterior: SpeakerPosterior, prior: SpeakerPrior, of_labels: torch.Tensor
    ) -> torch.Tensor:
        """
        Log-likelihood ratio of the target, weighted: of a known label between the speaker's own prototype and
        everybody's around the speaker; of another label between its prototype and an average known one.

        Args:
            of_labels (`torch.Tensor` of shape `(batch_size, num_slots)`): Log-density of the target by the prototypes.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_slots)`.
        """
        num_known, num_slots = len(self.label_means), len(prior.means)
        enrolled = posterior.enrolled.to(target.dtype)
        share = enrolled.sum(1, keepdim=True) / (num_known + enrolled[:, num_known:].sum(1, keepdim=True)).clamp(min=1)
        weight = prior.prototype_weight * share**self.config.enrolled_share_exponent
        prototypes = weight * of_labels
        expected = prior.means + posterior.center[:, None]
        spreads = prior.noise + prior.label_variances + posterior.variance[:, None]
        others = weight * log_density(target, expected, spreads)
        if 0 < num_known < num_slots:
            average = prototypes[:, :num_known].logsumexp(-1, keepdim=True) - torch.tensor(float(num_known)).log()
            others = torch.cat([others[:, :num_known], average.expand(-1, num_slots - num_known)], dim=1)
        return prototypes - others


class EmoIclAdaptationMixture(nn.Module):
    """
    Speaker adaptations side by side: one of all source corpora, and one of each in `config.adaptation_sources`, for
    corpora whose voices, rooms and manners of speaking differ too much for one Gaussian. The evidence is the mean of
    theirs, weighted by how probably a prompt's utterances were recorded as each source was.

    Args:
        config ([`EmoIclConfig`]): That of [`EmoIclSpeakerAdaptation`], with `adaptation_sources`.
    """

    def __init__(self, config: EmoIclConfig):
        super().__init__()
        num_sources = 1 + len(config.adaptation_sources or [])
        self.size = config.adaptation_size
        self.of_sources: Any = nn.ModuleList(EmoIclSpeakerAdaptation(config) for _ in range(num_sources))
        self.source_classifier = nn.Linear(self.size, num_sources)

    def embed(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Voice embeddings of each adaptation, then what the classifier says of the source.

        Args:
            speech_features (`torch.Tensor` of shape `(num_utterances, num_frames, hidden_size)`): Encoder output.
            mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_utterances, num_sources * adaptation_size + num_sources)`.
        """
        voices = [adaptation.embed(speech_features, mask) for adaptation in self.of_sources]
        return torch.cat([*voices, self.source_classifier(voices[0])], dim=-1)

    def forward(
        self, voice_embeds: torch.Tensor, utterance_index: torch.Tensor, shot_labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Arguments and results are those of [`EmoIclSpeakerAdaptation`]."""
        num_sources = len(self.of_sources)
        *voices, source_logits = voice_embeds.split([*[self.size] * num_sources, num_sources], dim=-1)
        shares = self.source_shares(source_logits, utterance_index)
        label_tokens, slots, active = self.of_sources[0].label_slots(shot_labels, utterance_index[:, 1:] >= 0)
        evidence = [
            adaptation.evidence(of_source, utterance_index, slots, label_tokens.shape[1])
            for adaptation, of_source in zip(self.of_sources, voices, strict=True)
        ]
        mean = (shares[:, None] * torch.stack(evidence, dim=-1)).sum(-1)
        return label_tokens, mean.masked_fill(~active, float("-inf"))

    def source_shares(self, source_logits: torch.Tensor, utterance_index: torch.Tensor) -> torch.Tensor:
        """Probabilities of the sources, of the mean logits over a prompt's utterances: they share one recording.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_sources)`, in float32.
        """
        present = (utterance_index >= 0)[..., None]
        logits = source_logits[utterance_index.clamp(min=0)].float() * present
        return (logits.sum(1) / present.sum(1)).softmax(-1)


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


def blend_label_scores(
    language_model: torch.Tensor,
    label_ids: torch.Tensor,
    label_tokens: torch.Tensor,
    evidence: torch.Tensor,
    num_known: int,
    weight: float,
) -> torch.Tensor:
    """
    The log-linear blend of what the language model and the evidence say of candidate labels.

    An enrolled label that the model was not trained on counts as no less probable to the language model than an
    average known candidate: it all but excludes a word that it never wrote. A candidate that is neither known nor
    enrolled has average evidence.

    Args:
        language_model (`torch.Tensor` of shape `(batch_size, num_candidates)`): Log-probabilities of the candidates.
        label_ids (`torch.Tensor` of shape `(num_candidates, num_tokens)`): Their tokens, padded with -100.
        label_tokens (`torch.Tensor` of shape `(batch_size, num_labels, num_label_tokens)`):
            Tokens of the labels that there is evidence for, the known ones first.
        evidence (`torch.Tensor` of shape `(batch_size, num_labels)`): Evidence of each label, -inf for no label.
        num_known (`int`): How many labels are known.
        weight (`float`): That of the language model.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_candidates)`
    """
    length = max(label_ids.shape[-1], label_tokens.shape[-1])
    candidates, labels = (
        nn.functional.pad(tokens, (0, length - tokens.shape[-1]), value=-100) for tokens in (label_ids, label_tokens)
    )
    same = (candidates[None, :, None] == labels[:, None]).all(-1) & evidence.isfinite()[:, None]
    is_known, is_enrolled = same[..., :num_known].any(-1), same[..., num_known:].any(-1)
    average = mean_evidence(language_model, is_known)[:, None]
    lifted = is_enrolled & is_known.any(-1, keepdim=True)
    language_model = torch.where(lifted, torch.maximum(language_model, average), language_model)
    of_candidates = evidence[:, None].masked_fill(~same, float("-inf")).amax(-1)
    of_others = mean_evidence(evidence, evidence.isfinite())[:, None]
    return weight * language_model + torch.where(same.any(-1), of_candidates, of_others)


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


__all__ = [
    "EmoIclAdaptationMixture",
    "EmoIclSpeakerAdaptation",
    "SpeakerPosterior",
    "blend_label_scores",
    "label_token_bias",
    "pool_statistics",
]
