from __future__ import annotations

import errno
import os

import pytest

from detection.errors import DataError, ImageError
from detection.io.image_errors import OF_THE_FILE, file_error, raise_unless_own


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_the_list_of_an_image_files_own_errors_is_closed(number: int) -> None:
    own = {"ENOENT", "ENOTDIR", "EISDIR", "ENXIO", "ELOOP", "ENAMETOOLONG", "EILSEQ"}
    own |= {"EACCES", "EPERM"}
    error = OSError(number, os.strerror(number))
    assert isinstance(file_error("1.jpg", error), ImageError) == (errno.errorcode[number] in own)
    assert (number in OF_THE_FILE) == (errno.errorcode[number] in own)


def test_decoders_errors_without_a_number_are_the_images() -> None:
    raise_unless_own(OSError("image file is truncated"), "1.jpg")
    raise_unless_own(ValueError("bad marker"), "1.jpg")
    with pytest.raises(DataError, match=r"1.jpg: not enough memory"):
        raise_unless_own(OSError("encoder error -9 (out of memory error)"), "1.jpg")
    with pytest.raises(DataError, match=r"1.jpg: .*Input/output error") as caught:
        raise_unless_own(OSError(errno.EIO, os.strerror(errno.EIO)), "1.jpg")
    assert not isinstance(caught.value, ImageError)
    with pytest.raises(DataError, match=r"1.jpg: not enough memory"):
        raise_unless_own(MemoryError(), "1.jpg")
