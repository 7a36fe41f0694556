import numpy as np
import pytest

from hfal.evaluation import Curve, area_under_curve, labels_to_reach


def test_the_area_is_the_mean_height():
    assert area_under_curve([20, 40, 60], [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert area_under_curve([0, 10, 40], [0.0, 1.0, 1.0]) == pytest.approx(0.875)
    assert area_under_curve([20], [0.3]) == 0.3
    x = np.linspace(10, 200, 30)
    assert area_under_curve(x, np.sqrt(x)) == pytest.approx(np.trapezoid(np.sqrt(x), x) / 190)
    with pytest.raises(ValueError, match="as many scores as labels"):
        area_under_curve([1, 2], [0.1])


def test_a_score_is_reached_when_it_is_kept():
    curve = Curve((10, 20, 30, 40), (0.5, 0.7, 0.6, 0.8))
    assert labels_to_reach(curve, 0.5) == 10
    assert labels_to_reach(curve, 0.65) == 40  # 20 labels were luck: the next round fell below
    assert labels_to_reach(curve, 0.9) is None
