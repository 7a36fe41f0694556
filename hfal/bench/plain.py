"""What plain training gives: the floor under every learner (Munjal et al. 2020 ask for strong baselines)."""

from __future__ import annotations

from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hfal.pool import Pool
from hfal.tasks.scores import class_scores


def plain_score(pool: Pool, test: Dataset, metric: str) -> float | None:
    """The score of logistic regression on TF-IDF, trained on the labels of a pool.

    Returns:
        None for tasks without one label for each text, and for metrics other than `accuracy` and `macro_f1`.
    """
    task = pool.task
    if task.asks != "one" or task.embedded != "text" or metric not in ("accuracy", "macro_f1"):
        return None
    labels = pool.labels(pool.labeled)
    if len(set(labels)) < 2:
        return None
    words, held_out = (
        [" ".join(str(row[name]) for name in task.inputs) for row in rows]
        for rows in (pool.inputs(pool.labeled), test.select_columns(list(task.inputs)))
    )
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=500)
    )
    try:
        found = model.fit(words, labels).predict(held_out)
    except ValueError:  # no word to go by
        return None
    true = task.targets(test["labels"]).numpy()
    return float((found == true).mean()) if metric == "accuracy" else float(class_scores(true, found, task.classes)[0])
