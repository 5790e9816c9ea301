"""Raw lines to Moses tokens and back (sacremoses)."""

from functools import cache

SENTENCEPIECE_SPACE = "\u2581"


class Tokenizer:
    """Moses normalisation and tokenisation; a class, so that worker processes can receive it."""

    def __init__(self, lang: str, tokenize: bool, lowercase: bool):
        self.lang, self.tokenize, self.lowercase = lang, tokenize, lowercase

    def __call__(self, line: str) -> str:
        # sentencepiece writes spaces as this character, so it could not be told from them.
        line = line.replace(SENTENCEPIECE_SPACE, "_")
        if self.tokenize:
            normalizer, tokenizer = _moses(self.lang)
            # No escaping: what the model writes is plain text, and BLEU counts the same tokens.
            line = tokenizer.tokenize(normalizer.normalize(line), return_str=True, escape=False)
        # Tokenising may produce odd spaces again; sentencepiece would make pieces of them.
        line = " ".join(line.split())
        return line.lower() if self.lowercase else line


@cache  # compiling its expressions takes longer than tokenising many lines
def _moses(lang: str) -> tuple:
    import sacremoses  # takes half a second, which training has no use for

    return sacremoses.MosesPunctNormalizer(lang), sacremoses.MosesTokenizer(lang)


class Detokenizer:
    """Moses detokenisation of one language (sacremoses)."""

    def __init__(self, lang: str):
        import sacremoses

        self.moses = sacremoses.MosesDetokenizer(lang)

    def __call__(self, line: str) -> str:
        return self.moses.detokenize(line.split())
