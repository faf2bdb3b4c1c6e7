"""FLAME model files as they are published, with random numbers in them, for tests.

What makes real files awkward is all here: arrays inside chumpy objects (a module that tests must
invent, since it cannot be installed any more), pickles written by Python 2, a sparse joint
regressor, unsigned indices whose root parent is 4294967295.
"""

import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
import scipy.sparse as sp

PARENTS = np.array([4294967295, 0, 1, 1, 1], np.uint32)


def random_flame(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    shape: int = 300,
    expression: int = 100,
    seed: int = 0,
    smooth: bool = False,
    eyes: list[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of a well-formed model on a mesh: bases of a few mm, plausible joints, skin.

    `smooth` makes components that vary slowly over the face, as real ones do; `eyes` are the
    vertices of the eyeballs, left and right, which otherwise are those near a likely place.
    """
    rng = np.random.default_rng(seed)
    count, components = len(vertices), shape + expression
    centre, size = vertices.mean(0), np.ptp(vertices, axis=0)
    joints = centre + size * np.array(
        [[0, -0.5, -0.2], [0, -0.4, -0.2], [0, -0.05, -0.05], [0.2, 0.1, 0.2], [-0.2, 0.1, 0.2]]
    )
    distance = np.linalg.norm(vertices[None] - joints[:, None], axis=2)  # (5, V)
    regressor = np.zeros((5, count))
    for joint, near in enumerate(np.argsort(distance, axis=1)[:, :20]):
        regressor[joint, near] = rng.dirichlet(np.ones(20))
    lower = 1 / (1 + np.exp((vertices[:, 1] - joints[2, 1]) / (0.05 * size[1])))
    front = 1 / (1 + np.exp(-(vertices[:, 2] - joints[2, 2]) / (0.1 * size[2])))
    weights = np.zeros((count, 5))
    weights[:, 2] = 0.98 * lower * front
    for eye in (3, 4):
        ball = np.argsort(distance[eye])[: count // 20] if eyes is None else eyes[eye - 3]
        if eyes is not None:
            regressor[eye] = np.isin(np.arange(count), ball) / len(ball)
        weights[ball] = 0
        weights[ball, eye] = 1
    rest = 1 - weights.sum(1)
    weights[:, 0], weights[:, 1] = 0.2 * rest, 0.8 * rest
    shapedirs = 1e-3 * rng.standard_normal((count, 3, components))
    posedirs = 1e-3 * rng.standard_normal((count, 3, 36))
    posedirs[weights[:, 3:].sum(1) == 1] = 0  # eyeballs are rigid
    if smooth:
        waves = rng.standard_normal((components, 3, 3)) * 2 * np.pi / size.max()
        phases = rng.uniform(0, 2 * np.pi, (components, 3))
        angles = np.einsum("kcd,vd->vck", waves, vertices - centre) + phases.T
        shapedirs = 2e-3 * np.sin(angles)
    return {
        "f": faces.astype(np.uint32),
        "v_template": vertices.astype(np.float64),
        "shapedirs": shapedirs,
        "posedirs": posedirs,
        "J_regressor": regressor,
        "J": regressor @ vertices,
        "kintree_table": np.stack([PARENTS, np.arange(5, dtype=np.uint32)]),
        "weights": weights,
    }


def small_mesh(rows: int = 12, columns: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A closed-ish ellipsoid of triangles of the size of a head."""
    latitude = np.linspace(0.2, np.pi - 0.2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = np.stack(
        [
            0.08 * np.sin(latitude) * np.sin(longitude),
            0.12 * np.cos(latitude) + 0 * longitude,
            0.1 * np.sin(latitude) * np.cos(longitude),
        ],
        axis=-1,
    ).reshape(-1, 3)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns)).ravel()
    b = (np.arange(rows - 1)[:, None] * columns + (np.arange(columns) + 1) % columns).ravel()
    quads = np.stack([a, a + columns, b + columns, b], axis=1)
    return points, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])


# --------------------------------------------------------------------------------- chumpy


def _chumpy_modules() -> dict[str, types.ModuleType]:
    """Classes that pickle under chumpy's names with the state that chumpy's own leave."""

    class Ch:
        def __init__(self, **terms: object) -> None:
            self.__dict__.update(
                _dirty_vars=set(),
                _itr=None,
                _make_dense=False,
                _make_sparse=False,
                _depends_on_deps={"r": {"deps": {"x"}, "value": None, "out_of_date": True}},
                **terms,
            )

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    ch = types.ModuleType("chumpy.ch")
    reordering = types.ModuleType("chumpy.reordering")
    ch.Ch = Ch
    for name in ("Select", "transpose", "Reshape", "Sort"):
        kind = type(name, (Ch,), {"__module__": "chumpy.reordering", "__qualname__": name})
        setattr(reordering, name, kind)
    return {
        "chumpy": types.ModuleType("chumpy"), "chumpy.ch": ch, "chumpy.reordering": reordering
    }  # fmt: skip


CHUMPY = _chumpy_modules()
Ch = CHUMPY["chumpy.ch"].Ch


def reordering(kind: str, **terms: object) -> object:
    """A chumpy.reordering object."""
    return getattr(CHUMPY["chumpy.reordering"], kind)(**terms)


def dumps(value: object, protocol: int = 2) -> bytes:
    """Pickles while the invented chumpy can be imported."""
    sys.modules.update(CHUMPY)
    try:
        return pickle.dumps(value, protocol)
    finally:
        for name in CHUMPY:
            del sys.modules[name]


class Python2Pickler:
    """Writes protocol-2 pickles as Python 2.7 with numpy 1 and scipy 0.x did: text and array
    contents are byte strings, modules go by their old names."""

    def __init__(self) -> None:
        self._memo: dict[str | bytes, int] = {}

    def dumps(self, value: object) -> bytes:
        return b"\x80\x02" + self._emit(value) + b"."

    def _emit(self, value: object) -> bytes:
        emit = self._emit
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int() if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str() | bytes():
                return self._string(value)
            case tuple():
                return b"(" + b"".join(map(emit, value)) + b"t"
            case list():
                return b"](" + b"".join(map(emit, value)) + b"e"
            case dict():
                return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
            case set():
                return b"c__builtin__\nset\n" + emit((sorted(value),)) + b"R"
            case np.dtype():
                state = (3, value.str[0], None, None, None, -1, -1, 0)
                arguments = emit((value.str[1:], 0, 1))
                return b"cnumpy\ndtype\n" + arguments + b"R" + emit(state) + b"b"
            case np.ndarray():
                state = (1, value.shape, value.dtype, False, value.tobytes())
                start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
                return start + emit((0,)) + emit("b") + b"tR" + emit(state) + b"b"
            case sp.csc_matrix():
                state = {"_shape": value.shape, "maxprint": 50, "data": value.data,
                         "indices": value.indices, "indptr": value.indptr}  # fmt: skip
                return b"cscipy.sparse.csc\ncsc_matrix\n)\x81" + emit(state) + b"b"
            case Ch():
                name = f"c{type(value).__module__}\n{type(value).__name__}\n".encode()
                return name + b")\x81" + emit(vars(value)) + b"b"
        raise TypeError(f"no Python 2 pickle of {type(value)} is written here")

    def _string(self, value: str | bytes) -> bytes:
        """A byte string, or a reference to where the same one stood before."""
        if value in self._memo:
            return b"j" + struct.pack("<I", self._memo[value])
        self._memo[value] = number = len(self._memo)
        data = value.encode("latin-1") if isinstance(value, str) else value
        return b"T" + struct.pack("<I", len(data)) + data + b"r" + struct.pack("<I", number)


# ------------------------------------------------------------------------ published forms


def published_form(model: dict[str, np.ndarray]) -> dict[str, object]:
    """The model as FLAME's own pickles hold it: chumpy for the bases, a sparse regressor."""
    return {
        **model,
        "v_template": Ch(x=model["v_template"]),
        "shapedirs": Ch(x=model["shapedirs"]),
        "posedirs": Ch(x=model["posedirs"]),
        "weights": Ch(x=model["weights"]),
        "J_regressor": sp.csc_matrix(model["J_regressor"]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_flame(path: Path, model: dict[str, np.ndarray], form: str) -> Path:
    """Writes a model file in one of the forms met in the wild.

    Forms: "python2" (2017, 2019, 2020), "chumpy" (the same, written by Python 3), "plain" (2023:
    arrays and a sparse regressor), "npz", and "npz-object" (a pickle converted member by member,
    so that the regressor is an object array).
    """
    if form == "python2":
        path.write_bytes(Python2Pickler().dumps(published_form(model)))
    elif form == "chumpy":
        path.write_bytes(dumps(published_form(model)))
    elif form == "plain":
        path.write_bytes(dumps({**model, "J_regressor": sp.csc_matrix(model["J_regressor"])}, 4))
    elif form == "npz":
        np.savez(path, **model)
    else:
        np.savez(path, **{**model, "J_regressor": sp.csc_matrix(model["J_regressor"])})
    return path
