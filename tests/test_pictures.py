"""Pictures of every kind, and what is no picture."""

import base64
import io
import os

import numpy as np
import pytest
from datasets import Dataset, Features, Image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from hfal.pictures import content, decode, key, pixels, problems, shown, stored, thumbnail
from hfal.pixels import PixelStore
from tests.pictures import as_bytes, drawn, make_questions


def of(picture, kind="PNG", **options):
    return {"bytes": as_bytes(picture, kind, **options), "path": None}


RED = Pil.new("RGB", (40, 30), (250, 10, 10))


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (RED, "PNG"),
        (RED, "JPEG"),
        (RED.convert("CMYK"), "JPEG"),
        (RED.convert("P"), "PNG"),
        (RED.convert("RGBA"), "PNG"),
        (Pil.new("RGB", (1, 1), (250, 10, 10)), "PNG"),
        (Pil.new("RGB", (5000, 4000), (250, 10, 10)), "JPEG"),
        (RED, "GIF"),
        (RED, "WEBP"),
        (RED, "BMP"),
    ],
    ids=["rgb", "jpeg", "cmyk", "palette", "alpha", "1x1", "20MP", "gif", "webp", "bmp"],
)
def test_every_kind_of_picture_is_read_as_it_looks(picture, kind):
    found = pixels(of(picture, kind), 16)
    assert found.shape == (3, 16, 16) and found.dtype == np.uint8
    assert abs(found.reshape(3, -1).mean(1) - [250, 10, 10]).max() < 25
    assert problems([of(picture, kind)]) == [None]


def test_grey_pictures_of_one_and_of_sixteen_bits():
    wide = Pil.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    found = pixels(of(wide), 8)
    assert found.min() == 0 and found.max() == 255
    assert pixels(of(Pil.new("1", (8, 8), 1)), 8).min() == 255
    assert pixels(of(Pil.fromarray(np.full((4, 4), 7, np.uint16))), 4).max() == 0  # all alike


def test_what_is_transparent_shows_white():
    clear = Pil.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert pixels(of(clear), 8).min() == 255
    palette = RED.quantize(2)
    assert pixels(of(palette, transparency=palette.getpixel((0, 0))), 8).min() == 255


def test_a_photo_is_turned_as_its_camera_said():
    exif = Pil.Exif()
    exif[274] = 6  # to be turned by a quarter
    assert decode(of(Pil.new("RGB", (40, 20)), "JPEG", exif=exif)).size == (20, 40)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_bring_anything_down(data):
    (problem,) = problems([{"bytes": data, "path": None}])
    assert problem is None or "cannot be decoded" in problem
    assert isinstance(thumbnail({"bytes": data, "path": None}), str)


@given(cut=st.integers(1, 400), seed=st.integers(0, 3))
def test_half_a_picture_is_found(cut, seed):
    whole = as_bytes(Pil.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)))
    (problem,) = problems([{"bytes": whole[:-cut], "path": "x/photo.png"}])
    assert problem is None or problem.startswith("holds a picture photo.png that cannot be decoded")
    if cut > 40:
        assert problem is not None


def test_a_small_file_that_claims_to_be_huge_is_refused():
    bomb = as_bytes(Pil.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000
    (problem,) = problems([{"bytes": bomb, "path": None}])
    assert "cannot be decoded" in problem


def test_what_is_missing_is_named(tmp_path):
    found = problems([None, {"bytes": None, "path": None}, {"bytes": None, "path": str(tmp_path / "x.png")}])
    assert found == ["is missing (None)"] * 2 + [f"names a file that is not there: {tmp_path / 'x.png'}"]


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    names = [str(tmp_path / name) for name in ("folder.png", "pipe.png", "link.png")] + ["a\0b.png", "x" * 5000]
    assert len({key({"bytes": None, "path": name}) for name in names}) == len(names)
    for name, told in zip(names, problems([{"bytes": None, "path": name} for name in names]), strict=True):
        assert told is not None and ("not there" in told or "cannot be decoded" in told), name


def test_a_file_that_changes_is_another_picture(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(drawn("red"))
    before = key({"bytes": None, "path": str(path)})
    path.write_bytes(drawn("blue") + b" ")
    assert key({"bytes": None, "path": str(path)}) != before
    assert key({"bytes": None, "path": str(path)}) == key({"bytes": path.read_bytes(), "path": None})


def test_what_is_stored_does_not_say_where_it_lay(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(drawn("red"))
    kept = stored({"bytes": None, "path": str(path)})
    assert kept == {"bytes": drawn("red"), "path": "x.png"} and content(kept) == drawn("red")
    assert stored("text") == "text" and shown("text") == "text"


def test_thumbnails_are_encoded_anew_and_small():
    large = of(Pil.fromarray(np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)), "JPEG")
    uri = thumbnail(large, 320)
    assert uri.startswith("data:image/jpeg;base64,")
    assert Pil.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (320, 240)


def test_many_pictures_are_decoded_by_processes_in_order(tmp_path):
    rows = make_questions(300)
    store, kept = PixelStore("image", 12, None), PixelStore("image", 12, tmp_path)
    slots = store.slots(rows)
    expected = np.stack([pixels(picture, 12) for picture in rows["image"]])
    np.testing.assert_array_equal(store.gather(slots).numpy(), expected)
    np.testing.assert_array_equal(kept.gather(kept.slots(rows)).numpy(), expected)
    assert len(np.unique(slots)) == 150
    again = PixelStore("image", 12, tmp_path)
    assert len(again._index) == 150
    np.testing.assert_array_equal(again.gather(again.slots(rows)).numpy(), expected)


def test_a_picture_of_a_run_that_is_lost_later_is_told(tmp_path):
    features = Features({"image": Image(decode=False)})
    rows = Dataset.from_dict({"image": [{"bytes": None, "path": str(tmp_path / "gone.png")}]}, features=features)
    with pytest.raises(FileNotFoundError):
        PixelStore("image", 12, None).slots(rows)
