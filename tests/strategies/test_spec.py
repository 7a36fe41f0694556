import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfal.errors import HfalError
from hfal.strategies import Badge, Bald, Chain, Exploration, KMeans, Margin, Random, make, parse


def test_specs_become_strategies():
    assert parse("margin") == Margin()
    assert parse(" bald( mc_samples = 5, mc_layers='all' ) ") == Bald(mc_samples=5, mc_layers="all")
    assert parse("margin>kmeans(prefilter=10)") == Chain(Margin(), KMeans(), 10)
    assert parse("margin > kmeans") == Chain(Margin(), KMeans(), 10)
    assert parse("margin>kmeans(prefilter=5)>badge(prefilter=2)") == Chain(Chain(Margin(), KMeans(), 5), Badge(), 2)
    nested = parse("exploration(first=random, then=margin>kmeans(prefilter=4), rounds=2)")
    assert nested == Exploration(first=Random(), then=Chain(Margin(), KMeans(), 4), rounds=2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected the name of a strategy"),
        ("margn", r"unknown strategy 'margn' \(did you mean 'margin'\?\)"),
        ("margin(", "expected the name of an argument"),
        ("margin>", "expected the name of a strategy"),
        ("margin)", "found '\\)' at character 7"),
        ("margin;", "unexpected ';' at character 7"),
        ("bald(mc_sample=3)", r"unknown argument 'mc_sample' \(did you mean 'mc_samples'\?\)"),
        ("bald(mc_samples=1)", "at least 2"),
        ("bald(mc_samples=3, mc_samples=4)", "given twice"),
        ("margin(prefilter=3)", "prefilter belongs to a step after '>'"),
        ("margin>kmeans(prefilter=0)", "at least 1"),
        ("exploration(first=random)", "exploration: needs then"),
        ("exploration(then=3)", "must be a strategy"),
    ],
)
def test_mistakes_are_told_in_one_line(spec, message):
    with pytest.raises(HfalError, match=message) as caught:
        parse(spec)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="margin>kes(,=)'1. ", max_size=30))
def test_any_text_parses_or_is_refused_cleanly(spec):
    try:
        parse(spec)
    except HfalError as error:
        assert "\n" not in str(error)


def test_make_takes_specs_and_objects_only():
    assert make(Margin()) == Margin()
    with pytest.raises(HfalError, match="spec string or an object"):
        make(3)
    with pytest.raises(HfalError, match="spec string or an object"):
        make(Margin)
