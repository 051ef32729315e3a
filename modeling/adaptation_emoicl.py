"""What statistics in closed form say about each label: a probe centered on the speaker, and the speaker's prototypes.

A language model that is meta-trained on tens or hundreds of speakers learns to normalize the speaker but hardly to
read the enrollment's labels. This module gives it that reading as structure: a two-covariance model of voice
embeddings (as in probabilistic linear discriminant analysis, Ioffe 2006) whose posterior over the speaker and over the
speaker's own class means is exact for any number of shots. Its evidence is blended with the language model's scores
(`blend_emoicl.py`).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from .configuration_emoicl import EmoIclAdaptationConfig
from .familiarity_emoicl import UNFAMILIAR, EmoIclFamiliarity
from .speaker_posterior_emoicl import (
    PLAIN_PRIOR,
    PROMPT_SCALES,
    PriorScales,
    SpeakerPosterior,
    SpeakerPrior,
    condition,
    log_density,
    membership,
    shot_precision,
    shots_of_labels,
    speaker_posterior,
)


# The probes are regularized, and less sure of a shot than they are right. Of 1, 2 and 4, on validation speakers.
SHARPNESS = 2.0
# How probably a label that nobody knows is none of the known ones.
NONE_OF_THEM = 0.1
# What is left of a known label for other names when it has shots by its own.
LEFT_OF_ENROLLED = 0.6
# By which share what was learned from the training speakers may count; alike where a recording sounds unlike theirs.
TRUST_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
# How probably all of it counts where a recording sounds like theirs. Of .5, .8, .9 and .95, on validation speakers.
FAMILIAR_TRUST = 0.9
# How often the labels of shots without one are guessed: more changes nothing.
GUESSES = 3


class EmoIclLinearOfSources(nn.Module):
    """A linear layer of each source, side by side.

    Args:
        num_sources (`int`): How many there are.
        in_features (`int`): Size of what each reads.
        out_features (`int`): Size of what each gives.
    """

    def __init__(self, num_sources: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_sources, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(num_sources, out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(..., 1 or num_sources, batch_size, in_features)` to `(..., num_sources, batch_size, out_features)`."""
        return x @ self.weight.transpose(1, 2).to(x.dtype) + self.bias[:, None].to(x.dtype)


class EmoIclLogVariances(nn.Module):
    """
    Log variances of the components of a voice embedding. A module that is called, for where a model lies on disk its
    parts are brought when they are called.

    Args:
        num_sources (`int`): How many sources there are.
        size (`int`): Number of dimensions.
    """

    def __init__(self, num_sources: int, size: int):
        super().__init__()
        for component in ("speaker", "speaker_label", "unknown_label", "noise"):
            self.register_parameter(component, nn.Parameter(torch.zeros(num_sources, size)))

    def forward(self, component: str) -> torch.Tensor:
        """Variances of a component, of shape `(num_sources, size)`, in float32."""
        return getattr(self, component).float().exp()


class EmoIclSpeakerAdaptation(nn.Module):
    r"""
    Evidence for each label, from the model of an utterance's voice embedding

    `x = mean[label] + speaker + speaker_label + noise`, all Gaussian and independent over dimensions,

    where `speaker` is shared by all utterances of a person, and `speaker_label` by those with the same label. A
    label outside `config.label_words` has an unknown mean, so that it is known by its shots alone. The evidence has
    two parts, weighted by `config.probe_weight` and `config.prototype_weight`:

    1. *Centered probe*: log-probabilities of two linear classifiers of the target less the posterior mean of
       `speaker` by the labels' known means, mixed by the share of the speaker's variance that the enrollment explains:
       one that was trained on utterances as they are, and one that was trained on centered ones. Without enrollment it
       is the first alone.
       A label outside `config.label_words` is one of them by a name that nobody knows, or none: which, its shots
       tell, and that no two labels of an enrollment mean the same.
    2. *Prototypes*: `log p(x | label, enrollment) - log p(x | label, speaker)`, which is 0 for labels not enrolled. Of
       labels outside `config.label_words` nobody knows the second term; that of an average known label's prototype
       takes its place. All of it counts by `config.enrolled_share_exponent` for less while few labels are enrolled.

    With statistics of what is familiar, the probe counts by how far it can be trusted for a prompt; see `trust`. So
    does `config.enrolled_penalty`, which labels with shots lose. Shots without a label count as what the probes hear.

    Two means are taken over such evidence:

    - Over priors whose speaker and noise are larger or smaller, and whose label means are all alike
      ([`PriorScales`]), by how probable each makes the prompt's own utterances. Otherwise a shot from a room that the
      training corpus knows nothing of is nearer to any other utterance from there than to every mean, so that the
      likelihood ratio of its label explodes. Without enrollment nothing tells, and the prior stays as it is.
    - Over all training corpora as one and each of `config.sources` on its own, by how probably the prompt's utterances
      were recorded as each source was. Every parameter has an axis for them, which comes first.

    Args:
        config ([`EmoIclAdaptationConfig`]): Sizes, sources, known labels and weights.
    """

    def __init__(self, config: EmoIclAdaptationConfig):
        super().__init__()
        self.config = config
        num_sources, num_labels, size = 1 + len(config.sources), len(config.label_words), config.size
        if size is None or config.feature_size is None:
            raise ValueError("`adaptation_config` lacks its `feature_size`; `EmoIclConfig` sets it.")
        self.projection = EmoIclLinearOfSources(num_sources, config.feature_size, size)
        self.label_means = nn.Parameter(torch.zeros(num_sources, num_labels, size))
        self.log_variances = EmoIclLogVariances(num_sources, size)
        self.probe = EmoIclLinearOfSources(num_sources, size, num_labels)
        self.centered_probe = EmoIclLinearOfSources(num_sources, size, num_labels)
        self.source_classifier = nn.Linear(size, num_sources) if num_sources > 1 else None
        directions = config.familiarity_size
        self.familiarity = EmoIclFamiliarity(config.feature_size, directions) if directions else None

    def embed(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Voice embeddings: a linear map of the mean and standard deviation of the speech features over time.

        Args:
            speech_features (`torch.Tensor` of shape `(num_utterances, num_frames, hidden_size)`): Encoder output.
            mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_utterances, voice_size)`: those of all sources, `num_sources * size`, and
            with statistics of what is familiar, how familiar the utterance sounds.
        """
        return self.project(pool_statistics(speech_features, mask))

    def project(self, statistics: torch.Tensor) -> torch.Tensor:
        """Voice embeddings of pooled speech features `(num_utterances, feature_size)`."""
        # The projection takes a large mean away, which half precision would not survive.
        with torch.autocast(statistics.device.type, enabled=False):
            embeds = self.projection(statistics.to(self.projection.weight.dtype)).transpose(0, 1).flatten(1)
        if self.familiarity is None:
            return embeds
        return torch.cat([embeds, self.familiarity(statistics)[:, None].to(embeds.dtype)], dim=-1)

    def voices(self, voice_embeds: torch.Tensor) -> torch.Tensor:
        """Voice embeddings source by source, of shape `(num_sources, num_utterances, size)`, in at least float32."""
        num_sources, _, size = self.label_means.shape
        voices = voice_embeds[:, : num_sources * size].unflatten(-1, (num_sources, size)).transpose(0, 1)
        return voices.to(torch.promote_types(voices.dtype, torch.float32))

    def forward(
        self, voice_embeds: torch.Tensor, utterance_index: torch.Tensor, shot_labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`):
                Voice embeddings of all utterances of the batch.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`):
                Rows of `voice_embeds`: the enrollment, then the target; -1 for padding at the right.
            shot_labels (`torch.Tensor` of shape `(batch_size, num_shots, num_label_tokens)`):
                Label tokens of the enrollment with the end-of-sequence token, padded with -100.

        Returns:
            `tuple`: `label_tokens` of shape `(batch_size, num_labels, num_label_tokens)`, the known labels followed
            by the enrollment's, their `evidence` of shape `(batch_size, num_labels)` in float32, -inf for rows
            of `label_tokens` that repeat another or pad, and the `trust` of shape `(batch_size,)`.
        """
        label_tokens, slots, active = self.label_slots(shot_labels, utterance_index[:, 1:] >= 0)
        prompts = (voice_embeds, utterance_index, slots, label_tokens.shape[1])
        trust = self.trust(*prompts)
        evidence = self.evidence(*prompts, named=active, trust=trust)
        return label_tokens, evidence.masked_fill(~active, float("-inf")), trust

    def evidence(
        self,
        voice_embeds: torch.Tensor,
        utterance_index: torch.Tensor,
        slots: torch.Tensor,
        num_slots: int | None = None,
        scales: PriorScales = PROMPT_SCALES,
        named: torch.Tensor | None = None,
        trust: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        The evidence for labels that are given by their number: the known ones, then others.

        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`):
                Voice embeddings of all utterances of the batch.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`):
                Rows of `voice_embeds`: the enrollment, then the target; -1 for padding at the right.
            slots (`torch.Tensor` of shape `(batch_size, num_shots)`): Number of each shot's label.
            num_slots (`int`, *optional*): How many labels there are; by default the known ones.
            scales ([`PriorScales`], *optional*): The priors to take the mean over.
            named (`torch.Tensor` of shape `(batch_size, num_slots)`, *optional*): Which labels somebody told, and not
                only that there is one; by default the known ones.
            trust (`torch.Tensor` of shape `(batch_size,)`, *optional*): By which share the probe counts, see `trust`;
                by default all of it.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_slots)`, in float32.
        """
        voices = self.voices(voice_embeds)
        scales = scales if slots.shape[1] else PLAIN_PRIOR
        num_known = self.label_means.shape[1]
        num_slots = num_slots or num_known
        if named is None:
            named = (torch.arange(num_slots, device=slots.device) < num_known).expand(len(slots), -1)
        trust = voices.new_ones(slots.shape[0]) if trust is None else trust
        # In half precision a log-density over hundreds of dimensions would be noise.
        with torch.autocast(voices.device.type, enabled=False):
            at_once = partial(self.evidence_at_once, voices, self.prior(num_slots, scales))
            return prompt_by_prompt(at_once, utterance_index, slots, named, trust)

    def evidence_at_once(
        self,
        voices: torch.Tensor,
        prior: SpeakerPrior,
        utterance_index: torch.Tensor,
        slots: torch.Tensor,
        named: torch.Tensor,
        trust: torch.Tensor,
    ) -> torch.Tensor:
        """The mean of the evidence over priors and sources, `(batch_size, num_slots)`; see `evidence`.

        Args:
            voices (`torch.Tensor` of shape `(num_sources, num_utterances, size)`): Voice embeddings.
        """
        shot_mask = utterance_index[:, 1:] >= 0
        target_column = shot_mask.sum(1, keepdim=True)
        target = voices[:, utterance_index.gather(1, target_column)[:, 0]]
        shots = voices[:, utterance_index[:, :-1].clamp(min=0)]
        of_label = membership(slots, shot_mask, prior.means.shape[-2])
        posterior = speaker_posterior(shots, of_label, prior)
        is_untold = (of_label & ~named[:, None]).any(-1)
        # A graph has no branches.
        if self.label_means.shape[1] and (torch.compiler.is_compiling() or is_untold.any()):
            posterior = self.guess_labels(shots, of_label, is_untold, trust, posterior, prior)
        log_densities = log_density(target, posterior.prototypes, posterior.spreads)
        learned = (
            self.probe_evidence(target, posterior, prior, named) - self.config.enrolled_penalty * posterior.enrolled
        )
        evidence = trust[:, None] * learned + self.prototype_evidence(target, posterior, prior, log_densities)
        shares = self.prior_shares(posterior, log_densities) * self.source_shares(voices[0], utterance_index)
        return (shares[..., None] * evidence).sum((0, 1, 2, 3))

    @torch.no_grad()
    def trust(
        self, voice_embeds: torch.Tensor, utterance_index: torch.Tensor, slots: torch.Tensor, num_slots: int
    ) -> torch.Tensor:
        """
        By which share what was learned from the training speakers, probe and language model, counts for a prompt: the
        posterior mean over `TRUST_STEPS`. Beforehand it is the more the more familiar the prompt's utterances sound;
        then the enrollment tells, by how probable the probe makes each known label of it from all other shots.
        Without statistics of what is familiar it is 1.

        The arguments are those of `evidence`.

        Returns:
            `torch.Tensor` of shape `(batch_size,)`, in float32.
        """
        voices, (batch_size, num_shots) = self.voices(voice_embeds), slots.shape
        if self.familiarity is None or not self.label_means.shape[1]:
            return voices.new_ones(batch_size)
        present = utterance_index >= 0
        familiar = (voice_embeds[:, -1].to(voices.dtype) / UNFAMILIAR).clamp(max=1)
        familiar = (familiar[utterance_index.clamp(min=0)] * present).sum(1) / present.sum(1)
        steps = voices.new_tensor(TRUST_STEPS)
        others = (1 - FAMILIAR_TRUST) / (len(steps) - 1)
        where_familiar = torch.where(steps == 1, FAMILIAR_TRUST, others)
        probable = (familiar[:, None] * where_familiar + (1 - familiar[:, None]) / len(steps)).log()
        if num_shots:
            with torch.autocast(voices.device.type, enabled=False):
                prior = self.prior(num_slots, PriorScales(speaker=PROMPT_SCALES.speaker))
                at_once = partial(self.left_out_log_probabilities, voices, prior)
                heard = prompt_by_prompt(at_once, utterance_index, slots)
            told = (steps[:, None] * heard[:, :, None]).log_softmax(-1)
            is_known = present[:, 1:] & (slots < heard.shape[-1])
            label = slots.clamp(max=heard.shape[-1] - 1)[..., None, None].expand(-1, -1, len(steps), 1)
            probable = probable + (told.gather(-1, label)[..., 0] * is_known[..., None]).sum(1)
        return probable.softmax(-1) @ steps

    def left_out_log_probabilities(
        self, voices: torch.Tensor, prior: SpeakerPrior, utterance_index: torch.Tensor, slots: torch.Tensor
    ) -> torch.Tensor:
        """Log-probabilities of the known labels for each shot by the probes, centered on what all other shots tell of
        the speaker, `(batch_size, num_shots, num_known)`."""
        num_shots = slots.shape[1]
        others = ~torch.eye(num_shots, dtype=torch.bool, device=slots.device) & (utterance_index[:, None, 1:] >= 0)
        shots = voices[:, utterance_index[:, :-1].clamp(min=0)]
        of_label = membership(slots.repeat_interleave(num_shots, 0), others.flatten(0, 1), prior.means.shape[-2])
        posterior = speaker_posterior(shots.repeat_interleave(num_shots, 1), of_label, prior)
        certainty = posterior.certainty(prior)
        heard = self.probe_log_probabilities(shots.flatten(1, 2) - posterior.center, certainty)
        of_sources = self.source_shares(voices[0], utterance_index).expand(-1, slots.shape[0])
        shares = posterior.log_likelihood.softmax(0) * of_sources.repeat_interleave(num_shots, -1)
        return (shares[..., None] * heard).sum((0, 1, 2, 3)).unflatten(0, slots.shape)

    def variance(self, component: str) -> torch.Tensor:
        """Variances of a component of the voice embeddings, of shape `(num_sources, size)`."""
        return self.log_variances(component)

    def prior(self, num_slots: int, scales: PriorScales = PLAIN_PRIOR) -> SpeakerPrior:
        """What holds for everybody: labels that are known, then `num_slots` less these that are not.

        The weights were chosen on the training corpora. Less noise would make the prototypes surer than they were
        there, and a probe is worth less where labels sound otherwise.
        """
        known_means = self.label_means.float()
        num_unknown = num_slots - known_means.shape[1]
        known = self.variance("speaker_label")[:, None]
        unknown = known + self.variance("unknown_label")[:, None]
        means = nn.functional.pad(known_means, (0, 0, 0, num_unknown))
        variances = torch.cat([known.expand_as(known_means), unknown.expand(-1, num_unknown, -1)], dim=1)

        def scale(values: tuple[float, ...], num_axes: int) -> torch.Tensor:
            return torch.tensor(values, device=means.device).view(-1, *[1] * num_axes)

        return SpeakerPrior(
            means=scale(scales.means, 4) * means[:, None],
            label_variances=variances[:, None],
            speaker=scale(scales.speaker, 5) * self.variance("speaker")[:, None],
            noise=scale(scales.noise, 4) * self.variance("noise")[:, None],
            probe_weight=self.config.probe_weight * (1 + scale(scales.means, 3)) / 2,
            prototype_weight=self.config.prototype_weight * scale(scales.noise, 4).clamp(max=1) ** 2,
        )

    def guess_labels(
        self,
        shots: torch.Tensor,
        of_label: torch.Tensor,
        is_untold: torch.Tensor,
        trust: torch.Tensor,
        posterior: SpeakerPosterior,
        prior: SpeakerPrior,
    ) -> SpeakerPosterior:
        """
        What the enrollment tells if shots without a label are what the probes hear in them, as far as these can be
        trusted, and otherwise one of a label of their own. Labels and speaker are estimated by turns (expectation
        maximization); how probable the priors are stays as it was.

        Args:
            shots (`torch.Tensor` of shape `(num_sources, batch_size, num_shots, size)`): Embeddings of the enrollment.
            of_label (`torch.Tensor` of shape `(batch_size, num_shots, num_slots)`): Their labels, see [`membership`].
            is_untold (`torch.Tensor` of shape `(batch_size, num_shots)`): Which of these nobody told.
            trust (`torch.Tensor` of shape `(batch_size,)`): See `trust`.
            posterior ([`SpeakerPosterior`]): What the enrollment tells without guesses.
            prior ([`SpeakerPrior`]): What holds for everybody.

        Returns:
            [`SpeakerPosterior`]
        """
        _, num_shots, num_slots = of_label.shape
        share = trust[:, None, None]
        for _ in range(GUESSES):
            # The linear layers take two axes of utterances as one.
            centered = (shots - posterior.center_by_known_means[..., None, :]).flatten(-3, -2)
            certainty = posterior.certainty(prior).repeat_interleave(num_shots, -2)
            heard = self.probe_log_probabilities(centered, certainty).softmax(-1).unflatten(-2, of_label.shape[:2])
            heard = nn.functional.pad(heard, (0, num_slots - heard.shape[-1]))
            guessed = torch.where(is_untold[..., None], share * heard + (1 - share) * of_label, of_label)
            precision, residuals = shot_precision(*shots_of_labels(shots, guessed), prior)
            posterior = posterior._replace(**condition(precision, residuals, prior))
        return posterior

    def probe_evidence(
        self, target: torch.Tensor, posterior: SpeakerPosterior, prior: SpeakerPrior, named: torch.Tensor
    ) -> torch.Tensor:
        """Log-probabilities of the known labels by the probes, weighted. Another label has those of what it may mean.

        Returns:
            `torch.Tensor` of shape `(..., num_slots)`.
        """
        num_known, num_slots = self.label_means.shape[1], prior.means.shape[-2]
        if not num_known:
            return target.new_zeros(*target.shape[:-1], num_slots)
        certainty = posterior.certainty(prior)
        known = prior.probe_weight * self.probe_log_probabilities(target - posterior.center_by_known_means, certainty)
        average = known.logsumexp(-1, keepdim=True) - math.log(num_known)
        meanings = self.label_meanings(posterior, certainty, named).clamp(min=1e-9).log()
        others = (meanings + torch.cat([known, average], dim=-1)[..., None, :]).logsumexp(-1)
        return torch.cat([known, others], dim=-1)

    def label_meanings(
        self, posterior: SpeakerPosterior, certainty: torch.Tensor, named: torch.Tensor
    ) -> torch.Tensor:
        """How probably each label outside `config.label_words` means which of these or, last, none of them, `(...,
        num_slots - num_known, num_known + 1)`. By the probes a shot may be one of two; yet no two labels mean the
        same, to which the probabilities are fitted by turns (Sinkhorn and Knopp 1967)."""
        num_known = self.label_means.shape[1]
        shots = posterior.label_shots[..., num_known:, :] - posterior.center_by_known_means[..., None, :]
        # The linear layers take two axes of utterances as one.
        heard = self.probe_log_probabilities(shots.flatten(-3, -2), certainty.repeat_interleave(shots.shape[-2], -2))
        heard = (SHARPNESS * heard.unflatten(-2, shots.shape[-3:-1])).softmax(-1)
        none = torch.full_like(heard[..., :1], NONE_OF_THEM / num_known)
        meanings = torch.cat([(1 - NONE_OF_THEM) * heard, none], dim=-1)
        meanings = meanings / meanings.sum(-1, keepdim=True)
        left = torch.where(posterior.enrolled[:, None, :num_known], LEFT_OF_ENROLLED, 1.0)
        # Any number of labels may mean none of them.
        left = nn.functional.pad(left, (0, 1), value=1e4)
        is_named = named[:, num_known:, None]
        for _ in range(8):
            meant = (meanings * is_named).sum(-2, keepdim=True)
            fitted = meanings * (left / meant.clamp(min=1e-6)).clamp(max=1)
            meanings = torch.where(is_named, fitted / fitted.sum(-1, keepdim=True), meanings)
        return meanings

    def probe_log_probabilities(self, centered: torch.Tensor, certainty: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `(..., num_known)` of centered voice embeddings, by both probes as far as the speaker is
        known, `certainty` `(..., 1)`."""
        plain, personal = (probe(centered).log_softmax(-1) for probe in (self.probe, self.centered_probe))
        return ((1 - certainty) * plain + certainty * personal).log_softmax(-1)

    def prototype_evidence(
        self, target: torch.Tensor, posterior: SpeakerPosterior, prior: SpeakerPrior, log_densities: torch.Tensor
    ) -> torch.Tensor:
        """
        Log-likelihood ratio of the target, weighted: of a known label between the speaker's own prototype and
        everybody's around the speaker; of another label between its prototype and an average known one.

        Args:
            log_densities (`torch.Tensor` of shape `(..., num_slots)`): Of the target, by the prototypes.

        Returns:
            `torch.Tensor` of shape `(..., num_slots)`.
        """
        num_known, num_slots = self.label_means.shape[1], prior.means.shape[-2]
        enrolled = posterior.enrolled.float()
        share = enrolled.sum(1, keepdim=True) / (num_known + enrolled[:, num_known:].sum(1, keepdim=True)).clamp(min=1)
        weight = prior.prototype_weight * share**self.config.enrolled_share_exponent
        # Where no label is known, all are compared with themselves as nobody in particular would say them.
        compared = num_known or num_slots
        expected = prior.means[..., :compared, :] + posterior.center[..., None, :]
        spreads = prior.label_variances[..., :compared, :] + (prior.noise + posterior.variance)[..., None, :]
        prototypes, others = weight * log_densities, weight * log_density(target, expected, spreads)
        average = prototypes[..., :compared].logsumexp(-1, keepdim=True) - math.log(compared)
        others = torch.cat([others, average.expand(*average.shape[:-1], num_slots - compared)], dim=-1)
        return prototypes - others

    def prior_shares(self, posterior: SpeakerPosterior, log_densities: torch.Tensor) -> torch.Tensor:
        """Probabilities of the priors given all utterances of a prompt, of shape `(..., batch_size)`.

        Args:
            log_densities (`torch.Tensor` of shape `(..., num_slots)`): Of the target, by the prototypes.
        """
        known = torch.arange(log_densities.shape[-1], device=log_densities.device) < self.label_means.shape[1]
        of_target = log_densities.masked_fill(~(known | posterior.enrolled), float("-inf")).logsumexp(-1)
        of_priors = (posterior.log_likelihood + of_target).flatten(0, 2)
        plain = torch.arange(len(of_priors), device=of_priors.device)[:, None, None] == 0
        of_priors = of_priors.masked_fill(~(plain | posterior.enrolled.any(1)), float("-inf"))
        return of_priors.softmax(0).view(log_densities.shape[:-1])

    def source_shares(self, voices: torch.Tensor, utterance_index: torch.Tensor) -> torch.Tensor:
        """Probabilities of the sources, of the mean logits over a prompt's utterances: they share one recording.

        Args:
            voices (`torch.Tensor` of shape `(num_utterances, size)`): Voice embeddings of all sources as one.

        Returns:
            `torch.Tensor` of shape `(num_sources, batch_size)`.
        """
        if self.source_classifier is None:
            return voices.new_ones(1, 1)
        weight, bias = (of.to(voices.dtype) for of in (self.source_classifier.weight, self.source_classifier.bias))
        present = (utterance_index >= 0)[..., None]
        logits = nn.functional.linear(voices, weight, bias)[utterance_index.clamp(min=0)] * present
        return (logits.sum(1) / present.sum(1)).softmax(-1).T

    def label_slots(
        self, shot_labels: torch.Tensor, shot_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gives each label of a prompt one slot: its place among the known labels, or that of its first shot.

        Returns:
            `tuple`: the tokens of each slot `(batch_size, num_slots, num_label_tokens)`, the slot of each shot
            `(batch_size, num_shots)`, and which slots are in use `(batch_size, num_slots)`.
        """
        batch_size, num_shots, length = shot_labels.shape
        label_ids = self.config.label_token_ids
        num_known, length = len(label_ids), max([length, *map(len, label_ids)])
        known = shot_labels.new_tensor([ids + [-100] * (length - len(ids)) for ids in label_ids])
        known = known.view(1, num_known, length).expand(batch_size, -1, -1)
        shot_labels = nn.functional.pad(shot_labels, (0, length - shot_labels.shape[-1]), value=-100)
        label_tokens = torch.cat([known, shot_labels], dim=1)

        same = (shot_labels[:, :, None] == label_tokens[:, None]).all(-1)
        own_slot = torch.arange(num_known, num_known + num_shots, device=same.device)
        # An utterance without a label is one of a label of its own that nobody asks for.
        is_labeled = (shot_labels >= 0).any(-1)
        slots = torch.where(is_labeled, same.int().argmax(-1), own_slot)
        first_of_its_kind = (slots == own_slot) & shot_mask & is_labeled
        active = torch.cat([first_of_its_kind.new_ones(batch_size, num_known), first_of_its_kind], dim=1)
        return label_tokens, slots, active


def pool_statistics(speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation over the real frames, in float32, of shape `(num_utterances, 2 * hidden_size)`."""
    weights = mask[..., None].float()
    count = weights.sum(1)
    mean = (speech_features.float() * weights).sum(1) / count
    variance = ((speech_features.float() - mean[:, None]).square() * weights).sum(1) / count
    return torch.cat([mean, (variance + 1e-8).sqrt()], dim=-1)


def prompt_by_prompt(at_once: Callable[..., torch.Tensor], *prompts: torch.Tensor) -> torch.Tensor:
    """What a function makes of prompts. On a CPU one at a time: what all priors make of a prompt stays in its cache,
    which is 7 times as fast as 64 at once. A graph takes any number of prompts, and so has no loop over them."""
    if torch.compiler.is_compiling() or prompts[0].device.type != "cpu":
        return at_once(*prompts)
    return torch.cat([at_once(*prompt) for prompt in zip(*(tensor.split(1) for tensor in prompts), strict=True)])


__all__ = [
    "EmoIclLinearOfSources",
    "EmoIclLogVariances",
    "EmoIclSpeakerAdaptation",
    "pool_statistics",
]
