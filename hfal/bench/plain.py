"""What plain training gives: the floor under every learner (Munjal et al. 2020 ask for strong baselines)."""

from __future__ import annotations

from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hfal.pool import Pool
from hfal.tasks.scores import class_scores


def plain_scores(pool: Pool, test: Dataset) -> dict[str, float]:
    """`accuracy` and `macro_f1` of logistic regression on TF-IDF, trained on the labels of a pool.

    Returns:
        Nothing for tasks without one label for each text, and where there are no two classes or no words to go by.
    """
    task = pool.task
    if task.asks != "one" or task.embedded != "text":
        return {}
    labels = pool.labels(pool.labeled)
    if len(set(labels)) < 2:
        return {}
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
        return {}
    true = task.targets(test["labels"]).numpy()
    return {"accuracy": float((found == true).mean()), "macro_f1": float(class_scores(true, found, task.classes)[0])}
