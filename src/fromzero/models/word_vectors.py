"""Two tables of vectors, of words and of words as contexts, in the form that transformers saves and loads.

`AutoModel` knows it once this module is imported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class WordVectorsConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """
    Attributes:
        hidden_size: numbers of a vector.
    """

    model_type = "fromzero_word_vectors"

    vocab_size: int = 1
    hidden_size: int = 100

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size={self.hidden_size}: give 1 or more")


class WordVectors(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = WordVectorsConfig
    base_model_prefix = "vectors"
    main_input_name = "input_ids"

    def __init__(self, config: WordVectorsConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.contexts = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As word2vec does it: words small and even, contexts 0."""
        if module is self.words:
            bound = 0.5 / self.config.hidden_size
            nn.init.uniform_(self.words.weight, -bound, bound)
        elif module is self.contexts:
            nn.init.zeros_(self.contexts.weight)

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        """`input_ids` [...]; `last_hidden_state` [..., hidden_size], the vectors of the words."""
        return BaseModelOutput(last_hidden_state=self.words(input_ids))

    def score(self, words: Tensor, contexts: Tensor) -> Tensor:
        """[pairs, n]: products of the vectors of `words` [pairs] and of their `contexts` [pairs, n]."""
        return torch.einsum("pd,pnd->pn", self.words(words), self.contexts(contexts))


AutoConfig.register(WordVectorsConfig.model_type, WordVectorsConfig)
AutoModel.register(WordVectorsConfig, WordVectors)
