"""What a trained base model says, to be read by a person: each kind does what it has learnt to do."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from fromzero.pipelines.pretrain.options import PretrainOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from fromzero.batching.pieces import TextPieces

SHOWN = 3
SHORTEST, LONGEST = 24, 64
"""Tokens of a text of the validation part that is shown."""


def samples(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    source: Any,
    pretrain: PretrainOptions,
    seed: int,
) -> list[str]:
    """Continuations of prompts by a decoder; else a few texts of the validation part with what it finds."""
    from fromzero.models.language_models import kind_of

    network.train(False)
    kind = kind_of(network.config)
    if kind == "decoder":
        return _continuations(network, tokenizer, pretrain, seed)
    fill = _filled if kind == "encoder" else _told
    pieces = source.validation
    fitting = [piece for piece, length in enumerate(pieces.lengths) if SHORTEST <= length <= LONGEST]
    shown = fitting[:: max(1, len(fitting) // SHOWN)][:SHOWN]
    return [fill(network, tokenizer, source, piece) for piece in shown]


def _continuations(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pretrain: PretrainOptions, seed: int
) -> list[str]:
    """One for each prompt, drawn at temperature 0.8 from the 50 likeliest tokens."""
    import torch

    torch.manual_seed(seed)
    texts = []
    for prompt in pretrain.prompts:
        ids = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        output = network.generate(  # type: ignore[operator]
            torch.tensor([ids], device=network.device),
            max_length=min(len(ids) + pretrain.sample_tokens, pretrain.context),
            do_sample=True,
            temperature=0.8,
            top_k=50,
        )
        texts.append(str(tokenizer.decode(output[0], skip_special_tokens=True)))
    return texts


def _filled(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, source: TextPieces, piece: int
) -> str:
    """The text with what was found in brackets, beside what was hidden where that is something else."""
    import torch

    row = source.held_out(source.validation, piece)
    ids, labels = (torch.from_numpy(row[name]).to(network.device) for name in ("input_ids", "labels"))
    with torch.inference_mode():
        found = network(input_ids=ids[None]).logits[0].argmax(-1)

    decode: Any = tokenizer.decode
    parts = []
    for is_hidden, run in groupby(range(1, len(ids) - 1), key=lambda place: int(labels[place]) >= 0):
        places = list(run)
        parts.append(
            _beside(decode(found[places]), decode(labels[places])) if is_hidden else decode(ids[places])
        )
    return "".join(parts)


def _beside(said: str, hidden: str) -> str:
    said, hidden = (text.replace("\n", "⏎") for text in (said, hidden))
    return f"[{said}]" if said == hidden else f"[{said}≠{hidden}]"


def _told(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, source: TextPieces, piece: int
) -> str:
    """The text with its holes, and below it what the decoder says, the likeliest token each time."""
    import torch

    from fromzero.batching.pieces import FRAME

    ids = torch.from_numpy(source.held_out(source.validation, piece)["input_ids"]).to(network.device)
    room = min(LONGEST + FRAME, source.context)
    with torch.inference_mode():
        output = network.generate(ids[None], max_length=room, do_sample=False)[0]  # type: ignore[operator]
    frame = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    read, told = (
        tokenizer.decode([token for token in tokens.tolist() if token not in frame])
        for tokens in (ids, output)
    )
    return f"{read}\n→ {told}"
