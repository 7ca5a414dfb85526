"""Arrays of numpy as npy, and frames of pandas as parquet. Both are formats that contain no code."""

import importlib
import io
from typing import Any

from .errors import RefusedError, described

__all__ = ["array_from_bytes", "array_to_bytes", "frame_from_bytes", "frame_to_bytes"]


def array_to_bytes(value: Any) -> bytes:
    """Return an array or a scalar without Python objects in it as npy."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=False)
    return file.getvalue()


def array_from_bytes(data: bytes) -> Any:
    """Return the array in npy data.

    Raises:
        ValueError: It is no npy, it contains Python objects, or its size is wrong.
    """
    import numpy as np

    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    content = data[file.tell() :]
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or count * dtype.itemsize != len(content):
        raise ValueError("not an array")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def frame_to_bytes(value: Any) -> bytes:
    """Return a `DataFrame` or a `Series` as parquet.

    Raises:
        RefusedError: There is no pyarrow, or the frame would not come back equal.
    """
    import pandas as pd

    try:
        importlib.import_module("pyarrow")
    except ImportError:
        raise _refused(value, 'pip install "llmflow_nb[parquet]" for frames, or return df.to_dict("records")') from None
    is_series = isinstance(value, pd.Series)
    if not is_series and not isinstance(value, pd.DataFrame):
        raise _refused(value, "return list(...) of it")
    frame = value.to_frame("values") if is_series else value
    file = io.BytesIO()
    try:
        frame.to_parquet(file, engine="pyarrow")
        back = _read(file.getvalue())
        is_same = _is_same(frame, back)
    except Exception as exc:  # pyarrow has its own errors for each kind of cell that it cannot take
        raise _refused(value, f"{type(exc).__name__}: {exc}"[:200]) from None
    if not is_same or (is_series and not (value.name is None or isinstance(value.name, str))):
        raise _refused(value, 'parquet would change it; return df.to_dict("records")')
    name = value.name if is_series else None
    head = b"frame" if not is_series else b"nameless" if name is None else b"series" + name.encode()
    return len(head).to_bytes(4, "big") + head + file.getvalue()


def frame_from_bytes(data: bytes) -> Any:
    """Return the `DataFrame` or the `Series` in the result of `frame_to_bytes`.

    Raises:
        ValueError: It is no such data.
    """
    length = int.from_bytes(data[:4], "big")
    head = data[4 : 4 + length]
    try:
        frame = _read(data[4 + length :])
    except Exception:  # as for writing
        raise ValueError("not a frame") from None
    if head == b"frame":
        return frame
    series = frame["values"]
    series.name = head.removeprefix(b"series").decode() if head != b"nameless" else None
    return series


def _refused(value: Any, why: str) -> RefusedError:
    return RefusedError(f"{described(value)} cannot be written ({why})")


def _read(data: bytes) -> Any:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(data), engine="pyarrow")


def _is_same(first: Any, second: Any) -> bool:
    if type(first) is not type(second) or list(first.dtypes) != list(second.dtypes) or first.attrs != second.attrs:
        return False
    for a, b in ((first.index, second.index), (first.columns, second.columns)):
        if type(a) is not type(b) or not a.equals(b) or a.names != b.names or a.dtype != b.dtype:
            return False
    return first.equals(second) and all(
        list(map(type, first.iloc[:, n])) == list(map(type, second.iloc[:, n]))
        for n, dtype in enumerate(first.dtypes)
        if str(dtype) == "object"
    )
