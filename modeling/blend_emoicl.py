"""The log-linear blend of what the language model says of labels and of the evidence of the speaker adaptation: of the
scores of candidate labels, and of the decoder's tokens where a text is written."""

import torch
from torch import nn


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
    weight: torch.Tensor,
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
        weight (`torch.Tensor` of shape `(batch_size,)`): That of the language model.

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
    return weight[:, None] * language_model + torch.where(same.any(-1), of_candidates, of_others)


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


__all__ = ["blend_label_scores", "label_token_bias"]
