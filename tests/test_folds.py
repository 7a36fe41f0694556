import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hfal.folds import folds_of


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(2, 6), st.integers(0, 5))
def test_each_fold_has_its_share_of_each_class(labels, folds, seed):
    labels = np.array(labels, dtype=np.int64)
    fold = folds_of(labels, folds, seed)
    assert ((fold >= 0) & (fold < folds)).all()
    for name in np.unique(labels):
        counts = np.bincount(fold[labels == name], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert (fold == folds_of(labels, folds, seed)).all()


def test_another_seed_deals_them_out_otherwise():
    assert (folds_of(np.zeros(40, dtype=np.int64), 4, 0) != folds_of(np.zeros(40, dtype=np.int64), 4, 1)).any()
