import numpy as np
import pytest

from hfal.evaluation import Curve, area_under_curve, cost_of, cost_to_reach, mean_curve
from hfal.rounds import Round


def test_the_area_is_the_mean_height():
    assert area_under_curve(Curve((20, 40, 60), (0.5, 0.5, 0.5))) == pytest.approx(0.5)
    assert area_under_curve(Curve((0, 10, 40), (0.0, 1.0, 1.0))) == pytest.approx(0.875)
    assert area_under_curve(Curve((20,), (0.3,))) == 0.3
    x = np.linspace(10, 200, 30)
    assert area_under_curve(Curve(tuple(x), tuple(np.sqrt(x)))) == pytest.approx(np.trapezoid(np.sqrt(x), x) / 190)
    with pytest.raises(ValueError, match="as many scores as costs"):
        Curve((1, 2), (0.1,))


def test_a_score_is_reached_when_it_is_kept():
    curve = Curve((10, 20, 30, 40), (0.5, 0.7, 0.6, 0.8))
    assert cost_to_reach(curve, 0.5) == 10
    assert cost_to_reach(curve, 0.65) == 40  # 20 labels were luck: the next round fell below
    assert cost_to_reach(curve, 0.9) is None


def test_a_curve_is_over_what_the_budget_counts():
    done = [Round(n, "margin", 10, 10 * n + 5, 2.5 * n, 100 * n, {"f1": n / 10}) for n in (1, 2)]
    assert Curve.of(done, "f1").cost == (15, 25)
    assert Curve.of(done, "f1", "words").cost == (100, 200)
    assert Curve.of(done, "f1", "euros").cost == (2.5, 5.0)
    assert cost_of(done[0], "seconds") == 2.5
    assert Curve.of(done, "accuracy").cost == ()


def test_seeds_whose_rounds_cost_not_quite_the_same_have_a_mean():
    curves = [Curve((1000, 1998, 3000), (0.1, 0.3, 0.5)), Curve((998, 2000, 2999), (0.3, 0.5, 0.7))]
    mean, each = mean_curve(curves)
    assert mean.cost == (1000, 1998, 2999)
    assert mean.scores == pytest.approx((0.2, 0.4, 0.6), abs=1e-3)
    assert each.shape == (2, 3)
    with pytest.raises(ValueError, match="no mean"):
        mean_curve([Curve((1, 2), (0, 1)), Curve((3, 4), (0, 1))])
