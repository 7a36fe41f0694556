"""How near written texts are to references: ROUGE, chrF, exact match; from packages, without network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hfal.errors import HfalError

KINDS = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}


def rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """F1 of ROUGE-1, -2 and -L of each text (Lin 2004), the best over its references, by rouge-score with stemming.

    Texts in scripts that rouge-score's words do not know (its words are a-z and 0-9) are compared by their own words.
    """
    scorer = _scorer()
    return [_best(scorer, text, known) for text, known in zip(texts, references, strict=True)]


def _scorer() -> Any:
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError as error:
        raise HfalError("scores of texts need rouge-score: pip install 'hfal[generation]'") from error

    class Words(tokenizers.Tokenizer):
        """Its own words, and those of scripts that it drops."""

        def __init__(self) -> None:
            self.usual = tokenizers.DefaultTokenizer(use_stemmer=True)

        def tokenize(self, text: str) -> list[str]:
            """Words of a text."""
            if text.isascii():
                return list(self.usual.tokenize(text))
            from hfal.tasks.words import words_of

            return [word.lower() for word in words_of(text) if any(c.isalnum() for c in word)]

    return rouge_scorer.RougeScorer(list(KINDS), tokenizer=Words())


def _best(scorer: Any, text: str, references: Sequence[str]) -> dict[str, float]:
    found = [scorer.score(reference, text) for reference in references]
    return {name: max(float(one[kind].fmeasure) for one in found) for kind, name in KINDS.items()}


def score_texts(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The means over texts of `rouge`, chrF (sacrebleu; 0 to 1) and exact match, and words written."""
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise HfalError("scores of texts need sacrebleu: pip install 'hfal[generation]'") from error

    rows = rouge(texts, references)
    chrf = CHRF()
    near = [chrf.sentence_score(text, list(known)).score / 100 for text, known in zip(texts, references, strict=True)]
    exact = [text.strip() in {one.strip() for one in known} for text, known in zip(texts, references, strict=True)]
    return {
        "rouge_l": float(np.mean([row["rouge_l"] for row in rows])),
        "rouge_1": float(np.mean([row["rouge_1"] for row in rows])),
        "rouge_2": float(np.mean([row["rouge_2"] for row in rows])),
        "chrf": float(np.mean(near)),
        "exact_match": float(np.mean(exact)),
        "words": float(np.mean([len(text.split()) for text in texts])),
    }
