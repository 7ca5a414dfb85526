"""Params: what a node sees of its flow's settings and param set. Read-only, merged at every level, without leaks."""

import copy
import json
import pickle
from collections import UserDict
from types import MappingProxyType

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class See(Node):
    """Appends what it sees to ``shared``."""

    def post(self, shared, prep_res, exec_res):
        shared.append(self.params)


def sets(*param_sets, start, **attributes):
    """A batch flow over these param sets."""
    return type("Sets", (BatchFlow,), {"prep": lambda self, shared: list(param_sets), **attributes})(start=start)


def seen(flow):
    shared = []
    flow.run(shared)
    return shared


@pytest.fixture
def params():
    """Params as a node sees them."""
    flow = Flow(start=See())
    flow.set_params({"a": 1, "b": [2]})
    (params,) = seen(flow)
    return params


# ---- read-only -------------------------------------------------------------------------------------------------------


def ior(params):
    params |= {"a": 2}


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.__setitem__("a", 2),
        lambda p: p.__delitem__("a"),
        lambda p: p.update(a=2),
        lambda p: p.pop("a"),
        lambda p: p.popitem(),
        lambda p: p.clear(),
        lambda p: p.setdefault("c", 3),
        ior,
    ],
    ids=["set", "del", "update", "pop", "popitem", "clear", "setdefault", "|="],
)
def test_every_write_is_refused(params, write):
    """Every way to write is refused, saying where to put the value."""
    with pytest.raises(TypeError, match=r"^params are read-only during a run; put the value in shared"):
        write(params)
    assert params == {"a": 1, "b": [2]}


def test_reads_like_a_dict(params):
    """Every way to read is a dict's."""
    assert isinstance(params, dict)
    assert params["a"] == 1
    assert params.get("zzz", 0) == 0
    assert list(params) == ["a", "b"]
    assert {**params} == params | {} == {"a": 1, "b": [2]}
    assert "{a}".format(**params) == "1"
    assert not Flow().params
    match params:
        case {"a": a}:
            assert a == 1


def test_missing_key_is_a_key_error(params):
    """A missing key is a KeyError, as in a dict."""
    with pytest.raises(KeyError, match="zzz"):
        params["zzz"]


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["copy", "deepcopy", "pickle"]
)
def test_copies_stay_read_only(params, twin):
    """Copies and pickles are equal, and closed to writers too."""
    other = twin(params)
    assert other == params
    assert type(other) is type(params)
    with pytest.raises(TypeError, match="read-only"):
        other["a"] = 2


def test_deepcopy_is_deep(params):
    """A deep copy shares no value."""
    assert copy.deepcopy(params)["b"] is not params["b"]


def test_json(params):
    """Params go into JSON as they are."""
    assert json.loads(json.dumps(params)) == {"a": 1, "b": [2]}


def test_changed_copy(params):
    """``dict(params)`` and ``params.copy()`` give a dict that may be changed."""
    for other in (dict(params), params.copy(), params | {"c": 3}):
        other["a"] = 2
    assert params["a"] == 1


# ---- merging ---------------------------------------------------------------------------------------------------------


def test_flow_params_replace_the_nodes_own():
    """A flow's params replace those that the node was given, also when the flow has none."""
    node = See()
    node.set_params({"own": 1})
    flow = Flow(start=node)
    assert seen(flow) == [{}]
    flow.set_params({"a": 1})
    assert seen(flow) == [{"a": 1}]
    assert node.params == {"own": 1}


def test_a_node_alone_uses_its_own():
    """``node.run`` uses the params that were set on it."""
    node = See()
    node.set_params({"own": 1})
    assert seen(node) == [{"own": 1}]


def test_merged_at_every_level():
    """A leaf sees the params of every batch flow around it, merged over those of the outermost flow."""
    inner = sets({"inner": 1}, {"inner": 2}, start=Flow(start=See()))
    outer = sets({"outer": "a"}, {"outer": "b"}, start=Flow(start=inner))
    flow = Flow(start=outer)
    flow.set_params({"base": 0})
    assert seen(flow) == [{"base": 0, "outer": o, "inner": i} for o in "ab" for i in (1, 2)]


def test_param_set_wins():
    """A key of a param set takes the place of the same key further out."""
    flow = sets({"a": "set"}, {}, start=See())
    flow.set_params({"a": "flow"})
    assert seen(flow) == [{"a": "set"}, {"a": "flow"}]


def test_every_hook_sees_them():
    """prep, exec, the fallback and post see the same params, in a BatchNode for every item."""

    class All(BatchNode):
        def prep(self, shared):
            shared.append(self.params["n"])
            return [1, 2]

        def exec(self, shared, item):
            shared.append(self.params["n"])
            raise ValueError

        def exec_fallback(self, shared, item, exc):
            shared.append(self.params["n"])

        def post(self, shared, prep_res, exec_res):
            shared.append(self.params["n"])

    assert seen(sets({"n": "x"}, start=All())) == ["x"] * 6


def test_flow_hooks_see_outer_params():
    """prep and post of a batch flow see the params of the flows around it."""

    class Inner(BatchFlow):
        def prep(self, shared):
            return [{"inner": f"{self.params['outer']}1"}]

        def post(self, shared, prep_res, exec_res):
            shared.append(self.params)

    assert seen(sets({"outer": "a"}, start=Inner(start=See()))) == [{"outer": "a", "inner": "a1"}, {"outer": "a"}]


@pytest.mark.parametrize("kind", [dict, MappingProxyType, UserDict], ids=lambda kind: kind.__name__)
def test_any_mapping_is_a_param_set(kind):
    """A param set may be any mapping."""
    assert seen(sets(kind({"a": 1}), start=See())) == [{"a": 1}]


@pytest.mark.parametrize("kind", [dict, MappingProxyType, UserDict], ids=lambda kind: kind.__name__)
def test_any_mapping_may_be_set(kind):
    """``set_params`` takes any mapping."""
    flow = Flow(start=See())
    flow.set_params(kind({"a": 1}))
    assert seen(flow) == [{"a": 1}]


def test_params_set_on_the_object_in_a_hook():
    """A flow's ``prep`` may choose the params of its nodes by ``self.set_params``, for this visit only."""

    class Chooses(Flow):
        def prep(self, shared):
            self.set_params({**self.params, "chosen": len(shared)})

    inner = Chooses(start=See())
    flow = Flow(start=inner)
    flow.set_params({"a": 1})
    assert seen(flow) == [{"a": 1, "chosen": 0}]
    assert inner.params == {}


# ---- no leaks --------------------------------------------------------------------------------------------------------


def test_user_objects_keep_their_params():
    """After a run every node and flow has the params that it had before."""
    leaf = See()
    inner = sets({"inner": 1}, start=leaf)
    outer = sets({"outer": 1}, start=inner)
    outer.set_params({"base": 1})
    seen(outer)
    assert (leaf.params, inner.params, outer.params) == ({}, {}, {"base": 1})


def test_param_sets_do_not_mix():
    """A key of one param set is gone in the next."""
    assert seen(sets({"a": 1}, {"b": 2}, {}, start=See())) == [{"a": 1}, {"b": 2}, {}]


def test_given_dicts_are_left_alone():
    """The dicts that the user gave are neither changed nor frozen, and changing them later changes no record."""
    given = {"a": 1}
    flow = sets(given, start=See())
    (params,) = seen(flow)
    given["a"] = 2
    assert params == {"a": 1}
    assert [dict(visit.params) for visit in flow.last_run.visits if visit.node == "See"] == [{"a": 1}]


def test_concurrent_param_sets_do_not_mix():
    """Param sets side by side see each their own."""

    class Wait(Node):
        async def exec(self, prep_res):
            return self.params["n"]

        def post(self, shared, prep_res, exec_res):
            shared.append((self.params["n"], exec_res))

    flow = sets(*({"n": n} for n in range(20)), start=Wait(), max_concurrency=None)
    flow.max_concurrency = None
    assert sorted(seen(flow)) == [(n, n) for n in range(20)]
