"""Tokenizers, learnt from the corpus itself or taken as they are, and the encoders that apply them.

Special tokens exist only as ids: a literal `<|eos|>` in a text is encoded as ordinary characters, never as
the end of a document.
"""

from fromzero.tokenization.existing import existing_tokenizer as existing_tokenizer
from fromzero.tokenization.learnt import train_bpe as train_bpe
from fromzero.tokenization.learnt import train_characters as train_characters
from fromzero.tokenization.learnt import train_unigram as train_unigram
from fromzero.tokenization.saved import fast_tokenizer as fast_tokenizer
from fromzero.tokenization.saved import load_tokenizer as load_tokenizer
from fromzero.tokenization.saved import save_tokenizer as save_tokenizer
from fromzero.tokenization.saved import special_tokens as special_tokens
from fromzero.tokenization.saved import with_special_tokens as with_special_tokens
from fromzero.tokenization.sizes import token_bytes as token_bytes
from fromzero.tokenization.special import BOS as BOS
from fromzero.tokenization.special import EOS as EOS
from fromzero.tokenization.special import MASK as MASK
from fromzero.tokenization.special import PAD as PAD
from fromzero.tokenization.special import SMALLEST_VOCABULARY as SMALLEST_VOCABULARY
from fromzero.tokenization.special import SPECIAL_TOKENS as SPECIAL_TOKENS
from fromzero.tokenization.special import SpecialTokens as SpecialTokens
