import numpy as np
import pytest
from PIL import Image

from experiments.data.pictures import PICTURES, load_picture
from experiments.data.source_files import DataError


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_come_with_the_library(name):
    picture = load_picture(name, 32)
    assert picture.shape[:2] == (32, 32)
    assert picture.shape[2] in (1, 3)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() < picture.max() <= 1


def test_a_file_is_cut_to_its_middle_square(tmp_path):
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 2:6] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(load_picture(str(tmp_path / "wide.png"), 4), 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("camra", "did you mean camera"),
        ("nothing.png", "no such file; there are astronaut"),
    ],
)
def test_names_what_there_is(name, message):
    with pytest.raises(DataError, match=message):
        load_picture(name, 32)


def test_names_a_file_that_is_no_picture(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png: cannot be read as a picture"):
        load_picture(str(broken), 32)


def test_sixteen_bits_are_read_and_other_numbers_refused(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 65535, 32), (32, 32))
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "ramp.png")
    picture = load_picture(str(tmp_path / "ramp.png"), 32)
    np.testing.assert_allclose(picture[..., 0], ramp / 65535, atol=1 / 255)
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "ramp.tiff")
    with pytest.raises(DataError, match="mode F are not read"):
        load_picture(str(tmp_path / "ramp.tiff"), 32)


@pytest.mark.real_data
def test_published_pictures(published):
    for file in sorted((published / "images").glob("*.png")):
        assert load_picture(str(file), 64).shape[:2] == (64, 64)
