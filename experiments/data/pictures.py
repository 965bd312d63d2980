"""Pictures: scikit-image's own, and files."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from experiments.data.source_files import DataError
from experiments.suggestion import suggest

# Those that come in its wheel; others it would download.
PICTURES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "moon")


def load_picture(name: str, size: int) -> Float[np.ndarray, "size size channels"]:
    """Loads a picture, cut to its middle square and scaled.

    Args:
        name: one of `PICTURES`, or the path of a file.
        size: pixels a side.

    Returns:
        The picture, with white 1, of one channel or three.

    Raises:
        DataError: if there is no such picture, or its file cannot be read.
    """
    from skimage import data, transform

    picture = getattr(data, name)() if name in PICTURES else _read(Path(name))
    picture = np.atleast_3d(picture)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side] / 255
    scaled = transform.resize(square, (size, size), anti_aliasing=size < side)
    return np.asarray(scaled, np.float32)


def _read(path: Path) -> UInt8[np.ndarray, "height width *channels"]:
    from PIL import Image

    if not path.is_file():
        raise DataError(f"{path}: no such file; {suggest(str(path), PICTURES)}")
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I;16"):
                return (np.asarray(picture) // 257).astype(np.uint8)
            if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise DataError(f"{path}: pixels of mode {picture.mode} are not read.")
            is_gray = picture.mode in ("1", "L", "LA")
            return np.asarray(picture.convert("L" if is_gray else "RGB"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture: {error}") from error
