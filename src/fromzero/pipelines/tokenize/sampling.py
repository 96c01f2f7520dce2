"""The text that a tokenizer is learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xxhash import xxh3_64_intdigest

from fromzero.corpora.document import Document
from fromzero.errors import UserError
from fromzero.tokenization.encoders import SAFE_PLACES, pieces


def sample(documents: Iterable[Document], share: float) -> Iterator[str]:
    """About `share` of the text: the same documents whatever their order, and whatever else there is.

    A long text is drawn by pieces, so that it is not all of the sample or nothing of it.

    Raises:
        UserError: nothing was drawn.
    """
    drawn = False
    for document in documents:
        for number, piece in enumerate(pieces(document.text, SAFE_PLACES[0])):
            name = f"{document.id}/{number}" if number else document.id
            if xxh3_64_intdigest(name.encode()) < share * 2**64:
                drawn = True
                yield piece
    if not drawn:
        raise UserError("no text was drawn to learn the tokenizer from: raise tokenize.sample_bytes")
