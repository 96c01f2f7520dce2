"""Where text comes from, and what happens to it before a tokenizer sees it: one source a file."""
