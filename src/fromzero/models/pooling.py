"""One vector for a text out of one for each token."""

from __future__ import annotations

from torch import Tensor


def mask_of(input_ids: Tensor, attention_mask: Tensor | None, pad_id: int) -> Tensor:
    """[texts, tokens] of int64, 1 on what counts: all but padding, where no mask is given."""
    return (input_ids != pad_id if attention_mask is None else attention_mask).long()


def mean_over(states: Tensor, mask: Tensor) -> Tensor:
    """[texts, tokens, width] and [texts, tokens] to [texts, width]; 0 where the mask leaves no token."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
