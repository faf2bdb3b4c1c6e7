"""Model files are read as the real unpickler would; hostile ones are refused, and nothing runs."""

import pickle
import struct
import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp

import core.restricted_pickle as restricted
from core.errors import IdiolectError
from core.restricted_pickle import INDEX_FILE, load_restricted, loads_restricted
from tests.core.face.flame_files import Ch, Python2Pickler, dumps, reordering

HARMLESS = {
    "array": np.arange(24.0).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(5, dtype=">u4"),
    "empty": np.zeros((0, 3)),
    "text array": np.array(["jaw", "neck"]),
    "bool": np.array([True, False]),
    "scalar": np.float32(2.5),
    "csc": sp.csc_matrix([[0, 1.5], [2, 0], [0, 3]]),
    "csr": sp.csr_matrix([[0, 1.5], [2, 0], [0, 3]]),
    "coo": sp.coo_matrix([[0, 1.5], [2, 0], [0, 3]]),
    "no entries": sp.csc_matrix((3, 4)),
    "plain": {"a": [1, -2.5, None, True, (1, "é日"), b"\xff\x00", b""], "big": 2**40},
}


def same(found: object, wanted: object) -> bool:
    if sp.issparse(wanted):
        return type(found) is type(wanted) and (found != wanted).nnz == 0
    if isinstance(wanted, np.ndarray | np.generic):
        return found.dtype == wanted.dtype and np.array_equal(found, wanted)
    return found == wanted


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_model_needs_is_read_in_every_protocol(what, protocol):
    data = pickle.dumps(HARMLESS[what], protocol)
    assert same(loads_restricted(data, "file"), HARMLESS[what])


@pytest.mark.parametrize(
    "what", ["array", "big-endian", "csc", "no entries", "scalar array", "text"]
)
def test_python_2_pickles_are_read(what):
    value = {**HARMLESS, "scalar array": np.array(1.5), "text": {"bs_type": "lrotmin"}}[what]
    data = Python2Pickler().dumps({"value": value, "again": "value"})
    assert same(loads_restricted(data, "file")["value"], value)
    # Where numpy still knows the old names, its own unpickler must agree with what the test wrote.
    if what == "array":
        assert same(pickle.loads(data, encoding="latin1")["value"], value)


def test_python_2_text_of_protocol_0_is_latin_1():
    assert loads_restricted(b"S'\\xe9\\n'\n.", "file") == "é\n"


def test_sets_become_lists_and_shared_parts_stay_shared():
    part = [1, 2]
    assert loads_restricted(pickle.dumps({3}), "file") == [3]
    value = loads_restricted(pickle.dumps([part, part]), "file")
    assert value[0] is value[1]


@pytest.mark.parametrize("write", [dumps, Python2Pickler().dumps], ids=["python3", "python2"])
def test_chumpy_objects_become_their_numbers(write):
    inner = np.arange(12.0)
    picked = np.array([3, 1, 2, 0], np.int64)
    a = Ch(x=inner)
    expected = {
        "ch": (a, inner),
        "reshape": (reordering("Reshape", a=a, newshape=(3, 4)), inner.reshape(3, 4)),
        "select": (reordering("Select", a=a, idxs=picked, preferred_shape=(2, 2)),
                   inner[picked].reshape(2, 2)),
        "plain select": (reordering("Select", a=a, idxs=picked), inner[picked]),
        "transpose": (reordering("transpose", a=reordering("Reshape", a=a, newshape=(3, 4)),
                                 axes=(1, 0)), inner.reshape(3, 4).T),
        "default transpose": (reordering("transpose", a=Ch(x=np.eye(2, 3)), axes=None),
                              np.eye(2, 3).T),
    }  # fmt: skip
    found = loads_restricted(write({name: pair[0] for name, pair in expected.items()}), "file")
    for name, (_, wanted) in expected.items():
        assert np.array_equal(found[name], wanted), name
    assert "chumpy" not in sys.modules


def test_an_array_of_objects_is_a_list_or_its_only_object():
    assert loads_restricted(pickle.dumps(np.array({"a": 1}, object)), "file") == {"a": 1}
    assert loads_restricted(pickle.dumps(np.array(["a", None], object)), "file") == ["a", None]


def test_arrays_are_not_copied():
    data = pickle.dumps(np.zeros(1 << 20), 5)
    array = loads_restricted(data, "file")
    assert not array.flags.owndata
    assert not array.flags.writeable


# -------------------------------------------------------------------------------- hostile


def calls(target: str, *arguments: object) -> bytes:
    """A pickle that calls `module name` with arguments."""
    return b"\x80\x02c" + target.replace(" ", "\n").encode() + b"\n" + body(arguments) + b"R."


def body(value: object) -> bytes:
    """A value's pickle without its frame."""
    return pickle.dumps(value, 2)[2:-1]


NDARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + body((0,)) + body(b"b") + b"tR"
)
DTYPE = b"cnumpy\ndtype\n" + body(("f8", 0, 1)) + b"R"


def array_claiming(shape: bytes, content: bytes) -> bytes:
    """A pickle of a float64 array with this shape and these bytes."""
    state = b"(K\x01" + shape + DTYPE + b"\x89" + body(content) + b"t"
    return b"\x80\x02" + NDARRAY + state + b"b."


class Runs:
    """An object whose unpickling would leave a trace."""

    ran = False

    def __reduce__(self) -> tuple:
        return (setattr, (Runs, "ran", True))


NAMED = {
    "os system": calls("os system", "touch idiolect_was_here"),
    "posix system": calls("posix system", "touch idiolect_was_here"),
    "builtins eval": calls("builtins eval", "1"),
    "__builtin__ eval": calls("__builtin__ eval", "1"),
    "builtins exec": calls("builtins exec", "1"),
    "builtins getattr": calls("builtins getattr", [], "append"),
    "builtins setattr": pickle.dumps(Runs()),
    "builtins __import__": calls("builtins __import__", "os"),
    "subprocess Popen": calls("subprocess Popen", ["true"]),
    "functools partial": calls("functools partial", print),
    "operator attrgetter": calls("operator attrgetter", "x"),
    "numpy load": calls("numpy load", "x.npy"),
    "numpy fromfile": calls("numpy fromfile", "/etc/passwd"),
    "numpy.testing._private.utils runstring": calls("numpy.testing._private.utils runstring", "1"),
    "numpy.core.multiarray empty": calls("numpy.core.multiarray empty", 1),
    "numpy ndarray": calls("numpy ndarray", (1 << 40,)),
    "builtins object": calls("builtins object"),
    "scipy.sparse._csc np": b"\x80\x02cscipy.sparse._csc\nnp\n.",
    "scipy.sparse csc_matrix.dot": b"\x80\x04\x8c\x0cscipy.sparse\x8c\x0ecsc_matrix.dot\x93.",
    "chumpy.ch ChLambda": calls("chumpy.ch ChLambda", 1),
    "chumpy.reordering Sort": dumps(reordering("Sort", a=Ch(x=np.eye(2)))),
    "builtins list.append": b"\x80\x04\x8c\x08builtins\x8c\x0blist.append\x93.",
    "torch._utils _rebuild_tensor_v2": calls("torch._utils _rebuild_tensor_v2"),
    "codecs decode": calls("codecs decode", "x", "rot13"),
}  # fmt: skip


@pytest.mark.parametrize("target", NAMED)
def test_what_is_not_needed_is_refused_by_name(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IdiolectError) as caught:
        loads_restricted(NAMED[target], "flame.pkl", setting="flame_file")
    assert caught.value.code == "unsafe_file"
    assert caught.value.setting == "flame_file"
    assert "flame.pkl" in caught.value.message
    assert target.split(" ")[1] in caught.value.message
    assert not list(tmp_path.iterdir())
    assert not Runs.ran


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def doubling(levels: int, pair: bytes = b"2\x86") -> bytes:
    """A tuple of two of a tuple of two …: 2^levels parts in a few bytes."""
    return b"\x80\x02K\x01" + pair * levels + b"."


ENCODED = b"c_codecs\nencode\n" + b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
UNSAFE = {
    "hidden deep inside": dumps({"shapedirs": [{"x": (1, Ch(x=Runs()))}]}),
    "nested reduce": b"\x80\x02cnumpy\ndtype\n(cos\nsystem\n(X\x02\x00\x00\x00lstRtR.",
    "the result is called": b"\x80\x02cbuiltins\nset\n)R)R.",
    "a name as data": b"\x80\x02]cnumpy\nndarray\na.",
    "build with a dictionary": b"\x80\x02cbuiltins\nobject\n)\x81}b.",
    "extension registry": b"\x80\x02\x82\x01.",
    "persistent id": b"Pos.system\n.",
    "old-style instance": b"(ios\nsystem\n.",
    "old-style object": b"(cbuiltins\nset\no.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "keyword arguments": b"\x80\x04cbuiltins\nset\n)}\x92.",
    "key that is not text": pickle.dumps({1: 2}),
    "array larger than the file": array_claiming(body((1 << 30,)), b"12345678"),
    "array beyond any integer": array_claiming(body((1 << 39,) * 4), b"12345678"),
    "array of a monstrous shape": array_claiming(body((1 << 100000,)), b"12345678"),
    "array of a negative shape": array_claiming(body((-1,)), b"12345678"),
    "array in a thousand dimensions": array_claiming(body((1,) * 1000), b"12345678"),
    "array smaller than its bytes": array_claiming(body((1,)), b"1234567890123456"),
    "array of records": b"\x80\x02cnumpy\ndtype\n" + body(("V8", 0, 1)) + b"R.",
    "objects from bytes": pickle.dumps(np.zeros(2)).replace(b"f8", b"O8"),
    "cycle": b"\x80\x02]q\x002a.",
    "endless nesting": nested(5000),
    "a million steps": b"\x80\x02" + b"N0" * 1_000_000 + b"N.",
    "copies of copies": b"\x80\x02(" + ENCODED + b"q\x00X\x06\x00\x00\x00latin1\x86Rq\x01"
    + (b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R") * 500 + b"l.",
}  # fmt: skip


@pytest.mark.parametrize("what", UNSAFE)
def test_hostile_files_are_refused_at_once(what):
    start = time.perf_counter()
    with pytest.raises(IdiolectError) as caught:
        loads_restricted(UNSAFE[what], "flame.pkl")
    assert caught.value.code == "unsafe_file"
    assert time.perf_counter() - start < 5
    assert not Runs.ran


def test_a_part_that_doubles_itself_stays_small():
    """2^1000 parts by sharing are 1000 parts; deeper than that is refused like any nesting."""
    value = loads_restricted(doubling(restricted.MAX_DEPTH - 1), "file")
    assert value[0] is value[1]
    with pytest.raises(IdiolectError, match="nested"):
        loads_restricted(doubling(1000), "file")


def test_a_huge_memo_number_costs_nothing():
    assert loads_restricted(b"\x80\x02K\x07r\xff\xff\xff\xff.", "file") == 7


def test_sparse_indices_outside_the_matrix_are_refused():
    for attribute, spoilt in (
        ("indices", [0, 1 << 20]), ("indices", [-5, 1]), ("indptr", [0, 2, 1 << 20]),
        ("indptr", [2, 0, 2]),
    ):  # fmt: skip
        matrix = sp.csc_matrix(np.eye(2))
        setattr(matrix, attribute, np.array(spoilt, np.int32))
        with pytest.raises(IdiolectError):
            loads_restricted(pickle.dumps(matrix), "file")


def test_a_file_cut_off_anywhere_is_refused():
    whole = dumps({"v": Ch(x=np.eye(3)), "J": sp.csc_matrix(np.eye(2)), "name": "flame"})
    for length in range(len(whole)):
        with pytest.raises(IdiolectError) as caught:
            loads_restricted(whole[:length], "file")
        assert caught.value.code in ("broken_file", "unsafe_file")


def test_a_garbled_file_is_read_or_refused_and_nothing_else():
    rng = np.random.default_rng(0)
    whole = np.frombuffer(dumps({"v": Ch(x=np.eye(3)), "J": sp.csc_matrix(np.eye(2))}), np.uint8)
    refused = 0
    for _ in range(2000):
        spoilt = whole.copy()
        at = rng.integers(0, len(whole), rng.integers(1, 4))
        spoilt[at] = rng.integers(0, 256, len(at))
        try:
            loads_restricted(spoilt.tobytes(), "file")
        except IdiolectError:
            refused += 1
    assert refused > 500


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"\x00" * 64, b"hello, world", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "flame.pkl").write_bytes(content)
        with pytest.raises(IdiolectError, match=r"flame\.pkl") as caught:
            load_restricted(tmp_path / "flame.pkl")
        assert caught.value.code in ("broken_file", "unsafe_file")
    with pytest.raises(IdiolectError) as caught:
        load_restricted(tmp_path / "none.pkl")
    assert caught.value.code == "missing_file"


def test_nothing_a_file_may_name_comes_from_elsewhere():
    """Each maker is a function of the module's own, or nothing."""
    makers = [maker for maker in restricted._MAKERS.values() if maker is not None]
    assert all(maker.__module__ == "core.restricted_pickle" for maker in makers)


def test_index_files_may_have_integer_keys_and_many_steps():
    index = {"sentence01": {frame: 7 * frame for frame in range(60_000)}}
    for protocol in (0, 2, 4):
        data = pickle.dumps(index, protocol)
        assert loads_restricted(data, "index.pkl", limits=INDEX_FILE) == index
        with pytest.raises(IdiolectError):
            loads_restricted(data, "index.pkl")


@pytest.mark.parametrize("key", [-1, 1 << 31, 1.0, True, None, (1, 2)])
def test_keys_whose_hashes_could_be_forged_are_refused_even_there(key):
    with pytest.raises(IdiolectError) as caught:
        loads_restricted(pickle.dumps({key: 0}), "index.pkl", limits=INDEX_FILE)
    assert caught.value.code == "unsafe_file"
