import pytest
import torch
from torch.nn.functional import cosine_similarity

from hfal import functional as F


def test_the_mean_cosine_is_that_of_all_pairs():
    torch.manual_seed(0)
    rows = torch.randn(50, 6)
    rows[3] = 0
    pairs = torch.stack([cosine_similarity(row[None], rows).nan_to_num() for row in rows])
    torch.testing.assert_close(F.mean_cosine(rows), pairs.mean(1), atol=1e-5, rtol=1e-4)


def test_contrast_is_the_mean_divergence_from_the_nearest_labelled_rows():
    torch.manual_seed(1)
    rows, logits = torch.randn(20, 4), torch.randn(20, 3)
    known, known_logits = torch.randn(9, 4), torch.randn(9, 3)
    scores = F.contrast(rows, logits, known, known_logits, 3)
    for row in range(20):
        near = (known - rows[row]).norm(dim=1).argsort()[:3]
        p, q = torch.softmax(known_logits[near], -1), torch.softmax(logits[row], -1)
        assert float(scores[row]) == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), abs=1e-5)


def test_rows_near_in_space_and_apart_in_prediction_score_most():
    known, known_logits = torch.zeros(3, 2), torch.tensor([[5.0, 0], [5, 0], [5, 0]])
    rows = torch.tensor([[0.1, 0], [0.1, 0]])
    alike, apart = F.contrast(rows, torch.tensor([[5.0, 0], [0, 5.0]]), known, known_logits)
    assert apart > 1 > alike
    with pytest.raises(ValueError, match="at least one labelled row"):
        F.contrast(rows, torch.zeros(2, 2), known[:0], known_logits[:0])
    with pytest.raises(ValueError, match="do not go with"):
        F.contrast(rows, torch.zeros(2, 3), known, known_logits)
