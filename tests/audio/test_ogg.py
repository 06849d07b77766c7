import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

from desmezcla.audio.ogg import set_serial_number

Make = Callable[..., Any]


def test_serial_number_changes_and_every_checksum_still_fits(music: Make) -> None:
    original = io.BytesIO()
    soundfile.write(original, music(2, 200_000).T, 44100, format="OGG", subtype="VORBIS")
    content = original.getvalue()
    (serial,) = struct.unpack_from("<I", content, 14)
    changed = io.BytesIO(content)
    set_serial_number(changed, 7)
    assert struct.unpack_from("<I", changed.getvalue(), 14) == (7,)
    # libogg skips pages whose checksum is wrong.
    for file in (original, changed):
        file.seek(0)
    np.testing.assert_array_equal(soundfile.read(changed)[0], soundfile.read(original)[0])
    set_serial_number(changed, serial)
    assert changed.getvalue() == content
