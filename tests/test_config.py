import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hfal import HfalError
from hfal.config import check_config, load_config
from hfal.config_yaml import read_yaml

GOOD = """
output_dir: runs/x
pool: {source: demo/tweets, rows: 100}
test: {source: demo/tweets, rows: 50}
task: {type: text_classification, text: text, label: label}
learner: {type: frozen_head, model: demo/minilm}
budget: {rows: 40}
batch: {rows: 20}
"""


def load(tmp_path, text, *changes):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(path, changes)


def test_a_config_has_defaults_and_can_be_changed(tmp_path):
    config = load(tmp_path, GOOD, "budget.rows=60", "learner.type=fine_tune", "learner.training.learning_rate=3e-5")
    assert (config.budget, config.seed, config.chooser) == ({"rows": 60}, 0, "auto")
    assert config.learner.type == "fine_tune"
    assert config.learner.training.learning_rate == 3e-5
    assert load(tmp_path, GOOD, "strategy=badge").strategy == "badge"
    again = check_config(config.record())
    assert again.record() == config.record()


def test_the_offline_recipe_has_the_keys_that_are_agreed():
    config = load_config("recipes/sentiment-offline.yaml")
    assert (config.pool.rows, config.test.rows) == (4000, 2000)
    assert (config.budget, config.batch) == ({"rows": 220}, {"rows": 20})
    assert load_config("recipes/sentiment.yaml").learner.type == "fine_tune"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("buget.rows=3", r"unknown key buget \(did you mean 'budget'\?\)"),
        ("pool.row=3", r"unknown key pool\.row \(did you mean 'rows'\?\); known here: source"),
        ("learner.modell=x", r"unknown key learner\.modell \(did you mean 'model'\?\)"),
        ("learner.training.lr=1", r"unknown key learner\.training\.lr; known here: num_train_epochs"),
        ("budget.rows=many", r"budget: .* given; rows must be a whole number of at least 1, got 'many'"),
        ("budget.rows=0", r"budget: .* given; rows must be a whole number of at least 1, got 0"),
        ("budget.words=20", r"budget: .* given; give one amount, as rows: 500 or words: 20000; got rows, words"),
        ("budget={seconds: -3}", r"budget: .* given; seconds must be a number above 0, got -3"),
        ("cost={unit: euros, per_wrd: 1}", r"unknown key cost\.per_wrd \(did you mean 'per_word'\?\)"),
        ("task={type: token_classification, scheme: IOB}", r"task\.scheme: 'IOB' is not allowed .*allowed: auto, BIO"),
        ("task={type: token_classification, token: words}", r"unknown key task\.token \(did you mean 'tokens'\?\)"),
        ("budget=many", r"budget: 'many' given; must be a valid dictionary"),
        ("seed=-1", r"seed: -1 given; must be greater than or equal to 0"),
        (
            "learner.type=finetune",
            r"learner\.type: 'finetune' is not allowed \(did you mean 'fine_tune'\?\); allowed",
        ),
        ("oracle=persons", r"oracle: 'persons' is not allowed; allowed: simulated, people"),
        ("strategy=margn", r"strategy: 'margn' given; unknown strategy 'margn' \(did you mean 'margin'\?\)"),
        ("learner.pooling=max", r"learner\.pooling: 'max' is not allowed; allowed: mean, cls"),
        ("learner.C=-1", r"learner\.C: -1 given; must be greater than 0"),
        ("learner.training.early_stopping_patience=2", "early_stopping_patience needs validation rows"),
        ("nonsense", "expected key=value"),
        ("seed.x=1", "seed is a value, not a section"),
        ("strategy=[", "is not a YAML value"),
    ],
)
def test_each_mistake_is_one_line_with_path_value_and_nearest_name(tmp_path, change, message):
    text = GOOD + "seed: 0\n"
    with pytest.raises(HfalError, match=message) as caught:
        load(tmp_path, text, change)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_told_at_once_and_a_bare_number_counts_rows(tmp_path):
    with pytest.raises(HfalError) as caught:
        load(tmp_path, GOOD, "seed=-1", "pool.row=3")
    assert "-1 given" in str(caught.value) and "; and unknown key pool.row (did you mean 'rows'?)" in str(caught.value)
    config = load(tmp_path, GOOD, "budget=60", "batch=15")
    assert (config.budget, config.batch) == ({"rows": 60}, {"rows": 15})


def test_no_and_yes_are_words_and_switches_too(tmp_path):
    config = load(
        tmp_path, GOOD.replace("label: label", "label_names: [no, yes, on]").replace("rows: 100", "skip_empty: yes")
    )
    assert tuple(config.task.label_names) == ("no", "yes", "on") and config.pool.skip_empty is True
    assert load(tmp_path, GOOD, "task.label_names=[no, yes]").task.label_names == ["no", "yes"]
    assert load(tmp_path, GOOD, "pool.skip_empty=true").pool.skip_empty is True


def test_missing_keys_bad_yaml_and_missing_files(tmp_path):
    with pytest.raises(HfalError, match="key budget is missing"):
        load(tmp_path, GOOD.replace("budget: {rows: 40}", ""))
    with pytest.raises(HfalError, match="not valid YAML in line 3"):
        load(tmp_path, "a: 1\nb: [1, 2\n")
    with pytest.raises(HfalError, match="key 'seed' is given twice"):
        load(tmp_path, "seed: 1\nseed: 2\n")
    with pytest.raises(HfalError, match="must hold keys and values"):
        load(tmp_path, "- 1\n")
    with pytest.raises(HfalError, match="there is no config file"):
        load_config(tmp_path / "none.yaml")


def test_what_chooses_the_seed_set_must_be_there(tmp_path):
    with pytest.raises(HfalError, match="start.strategy: .*typiclus"):
        load(tmp_path, GOOD, "start.strategy=typiclus")


def test_yaml_cannot_run_code(tmp_path):
    with pytest.raises(HfalError, match="not valid YAML"):
        load(tmp_path, GOOD + "seed: !!python/object/apply:os.system ['touch /tmp/hfal-was-here']\n")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["output_dir", "seed", "pool", "test", "learner", "strategy", "budget", "batch", "task", "start"]
)


@given(keys, values)
def test_any_value_is_accepted_or_refused_in_one_line(key, value):
    config = yaml.safe_load(GOOD) | {key: value}
    try:
        check_config(config)
    except HfalError as error:
        assert "\n" not in str(error).replace(repr(value), "")


def test_a_part_of_the_yaml_can_be_named_and_changed():
    text = "a: &base {x: 1, y: no}\nb: {<<: *base, x: 2}\n"
    assert read_yaml(text) == {"a": {"x": 1, "y": "no"}, "b": {"x": 2, "y": "no"}}
    with pytest.raises(yaml.YAMLError, match="given twice"):
        read_yaml("a: &base {x: 1}\nb: {<<: *base, x: 2, x: 3}\n")
