"""What a prompt's layout tells: where its utterances are, which label is whose, and what may see what.

A prompt is `W, X^1, Z^1, ..., X^k, Z^k, X`, each a sequence with a place that is counted back from the target: the
instruction 0, the target 1, the label of the last shot 2, its utterance 3, and so on.
"""

import torch
from transformers import PreTrainedConfig

from .pretrained_emoicl import check_inputs


IGNORED = -100
# Of a label in the enrollment. A fixed number, for exported graphs have no sizes that hang on what the tokens are.
MAX_LABEL_TOKENS = 64


def check_length(config: PreTrainedConfig, num_shots: int, num_tokens: int) -> None:
    """
    Refuses a prompt that a speech language model has no positions for.

    Raises:
        ValueError: If it has too many shots or tokens.
    """
    if num_shots > config.max_shots:
        raise ValueError(f"The prompt has {num_shots} shots; this model takes at most {config.max_shots}.")
    check_positions(config.text_config, num_tokens)


def check_positions(text_config: PreTrainedConfig, num_tokens: int, what: str = "The prompt has") -> None:
    """
    Refuses more tokens than a language model has positions for.

    Raises:
        ValueError: If they are more.
    """
    if not text_config.is_encoder_decoder:
        # That of a model which also sees has it in a part.
        text_config = text_config.get_text_config()
    longest = getattr(text_config, "max_position_embeddings", None)
    if longest is not None and num_tokens > longest:
        raise ValueError(
            f"{what} {num_tokens} tokens; this language model has positions for {longest}. Give fewer shots, or train "
            "a model with fewer query tokens."
        )


def placeholder_mask(
    input_ids: torch.Tensor | None,
    segment_ids: torch.Tensor,
    utterance_index: torch.Tensor,
    audio_token_id: int,
    num_query_tokens: int,
) -> torch.Tensor:
    """
    Where the query tokens of the utterances go.

    Args:
        input_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`, *optional*):
            Tokens of the prompts. Without them, the places are those of speech.
        segment_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): 0 for text, 1 for speech.
        utterance_index (`torch.Tensor` of shape `(batch_size, num_utterances)`): Utterances of each, padded with -1.
        audio_token_id (`int`): Token that holds the place of a query token.
        num_query_tokens (`int`): Query tokens of an utterance.

    Returns:
        `torch.Tensor` of shape `(batch_size, prompt_length)`.

    Raises:
        ValueError: If the placeholders do not match the utterances.
    """
    placeholders = segment_ids == 1 if input_ids is None else input_ids == audio_token_id
    found = placeholders.sum(1)
    wanted = num_query_tokens * (utterance_index >= 0).sum(1)
    check_inputs(
        found == wanted,
        lambda: (
            f"The batch holds {found.tolist()} audio placeholders, but `utterance_index` asks for "
            f"{wanted.tolist()}: {num_query_tokens} for each utterance."
        ),
    )
    return placeholders


def labels_of_utterances(
    inputs_embeds: torch.Tensor, sequence_ids: torch.Tensor, without_label: torch.Tensor
) -> torch.Tensor:
    """
    For each place of an utterance, the mean embedding of its label's tokens, which have the next place in the order of
    sequences.

    Args:
        inputs_embeds (`torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`): Of the text.
        sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
        without_label (`torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`):
            What stands for none, as of the target.

    Returns:
        `torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`.
    """
    of_label = (sequence_ids[:, :, None] - 1 == sequence_ids[:, None]) & (sequence_ids[:, None] > 1)
    count = of_label.sum(-1, keepdim=True)
    mean = of_label.to(inputs_embeds) @ inputs_embeds / count.clamp(min=1)
    return torch.where(count > 0, mean, without_label)


def hide_targets(
    attention_mask: torch.Tensor,
    sequence_ids: torch.Tensor,
    placeholders: torch.Tensor,
    num_query_tokens: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """
    The mask by which each target of a prompt sees all but other targets, and nothing else sees a target.

    Args:
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 1 for real tokens.
        sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
        placeholders (`torch.Tensor` of shape `(batch_size, prompt_length)`): Where the query tokens are.
        num_query_tokens (`int`): Query tokens of an utterance.
        dtype (`torch.dtype`): That of the language model.

    Returns:
        `torch.Tensor` of shape `(batch_size, 1, prompt_length, prompt_length)`: 0 where a token (third axis) sees
        another, else the least number.
    """
    target = torch.where(sequence_ids == 1, placeholders.cumsum(1).sub(1) // num_query_tokens, -1)
    sees = (target[:, None] < 0) | (target[:, :, None] == target[:, None])
    sees = sees & (attention_mask[:, None] > 0)
    return additive_mask(sees, dtype)


def additive_mask(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a token sees another, else the least number: `(batch_size, 1, num_queries, num_keys)`."""
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill(~sees, torch.finfo(dtype).min)[:, None]


def num_tokens_after_enrollment(sequence_ids: torch.Tensor, attention_mask: torch.Tensor) -> int:
    """
    How many tokens of a prompt stand from the target on: what the targets of one speaker do not share.

    Args:
        sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
        attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 1 for real tokens.

    Returns:
        `int`: The most of any prompt.
    """
    from_target = (sequence_ids == 1).cumsum(1) > 0
    return int((from_target & (attention_mask > 0)).sum(1).max())


def shot_labels(
    input_ids: torch.Tensor, sequence_ids: torch.Tensor, utterance_index: torch.Tensor, eos_token_id: int
) -> torch.Tensor:
    """
    Reads the enrollment's labels off a prompt: shot `i` of `k` has its label in sequence `2 (k - i + 1)`.

    Args:
        input_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Tokens of the prompts.
        sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
        utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`): Utterances of each, padded with -1.
        eos_token_id (`int`): The end-of-sequence token.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_shots, MAX_LABEL_TOKENS + 1)`: label tokens with the end-of-sequence
        token, padded with -100.

    Raises:
        ValueError: If a label has too many tokens.
    """
    shots = torch.arange(utterance_index.shape[1] - 1, device=input_ids.device)
    places = 2 * ((utterance_index[:, 1:] >= 0).sum(1, keepdim=True) - shots)[..., None]
    of_shot = (sequence_ids[:, None, :] == places) & (places > 0)
    lengths = of_shot.sum(-1, keepdim=True)
    check_inputs(
        lengths <= MAX_LABEL_TOKENS,
        lambda: f"A label of the enrollment has {lengths.max()} tokens; at most {MAX_LABEL_TOKENS} are read.",
    )
    columns = torch.arange(MAX_LABEL_TOKENS + 1, device=input_ids.device)
    positions = (of_shot.int().argmax(-1, keepdim=True) + columns).clamp(max=input_ids.shape[1] - 1)
    tokens = input_ids[:, None, :].expand(-1, len(shots), -1).gather(2, positions)
    tokens = tokens.masked_fill(columns == lengths, eos_token_id)
    return tokens.masked_fill((columns > lengths) | (lengths == 0), IGNORED)


__all__ = [
    "IGNORED",
    "additive_mask",
    "hide_targets",
    "labels_of_utterances",
    "num_tokens_after_enrollment",
    "placeholder_mask",
    "shot_labels",
]
