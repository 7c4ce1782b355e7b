"""A folder of images with one folder for each class, as arrays."""

from pathlib import Path

import numpy as np

from jleaks.errors import InputError

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def images_of(folder: Path) -> list[Path]:
    """Returns the images in the folders of classes, in sorted order."""
    return [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in _ENDINGS]


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads images of equal size.

    Args:
      folder: One folder for each class, named as it; images lie right in these.

    Returns:
      [N, height, width, channels] uint8, grey (1) if all are and else coloured (3), by class and file
      name in sorted order; [N] names of the classes; and what a reader must be told.

    Raises:
      InputError: names a file that is no image, or of another size than the first; or there are none.
    """
    from PIL import Image, UnidentifiedImageError

    files = images_of(folder)
    others = sum(
        path.is_file() and not path.name.startswith(".")
        for path in folder.glob("*/*")
        if path.suffix.lower() not in _ENDINGS
    )
    if not files:
        deeper = sorted(
            {path.parent.parent for path in folder.glob("*/*/*") if path.suffix.lower() in _ENDINGS}
        )
        raise InputError(
            f"{folder} has no images in folders of classes ({folder}/CLASS/IMAGE.png)"
            + (f"; name one of {', '.join(map(str, deeper[:3]))}" if deeper else "")
        )
    images, first = [], None
    for path in files:
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise InputError(f"{path} has more than 8 bits a pixel, expected 8")
                size, is_grey = image.size, image.mode in ("1", "L", "LA")
                pixels = np.asarray(image.convert("L" if is_grey else "RGB"))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
            raise InputError(f"{path} is no image that can be read: {error}") from error
        first = first or size
        if size != first:
            raise InputError(
                f"{path} is {size[0]} x {size[1]} pixels, {files[0].name} is {first[0]} x {first[1]}: "
                "bring all images to one size"
            )
        images.append(pixels)
    lines = []
    is_coloured = any(pixels.ndim == 3 for pixels in images)
    if is_coloured and not all(pixels.ndim == 3 for pixels in images):
        lines.append(f"{folder}: grey and coloured images: all are taken as coloured")
    if others:
        lines.append(f"{folder}: {others} files that are no images are left out")
    shaped = [
        pixels[..., None].repeat(3 if is_coloured else 1, -1) if pixels.ndim == 2 else pixels
        for pixels in images
    ]
    return np.stack(shaped), np.array([path.parent.name for path in files]), lines
