"""The commands of a stepper, one at a time: where it stops, what runs on the way, and what it refuses."""

import asyncio
import itertools

import pandas as pd
import pytest

from llmflow_nb import (
    BatchFlow,
    BatchNode,
    Flow,
    HookReturnError,
    Limiter,
    Node,
    RunStateError,
    SettingError,
    Stepper,
    WiringError,
)
from llmflow_nb.stepper.boundaries import BOUNDARIES
from llmflow_nb.stepper.commands import COMMANDS
from tests.stepper.helpers import Adds, Ledger, at, counts, walk

BEFORE, PREPPED, EXECED, POSTED, END = "before prep", "after prep", "after exec", "after post", "at the end"
HOOKS = [BEFORE, PREPPED, EXECED, POSTED]


def two():
    """A flow of two nodes that add one each."""
    first, second = Adds("first"), Adds("second")
    first >> second
    return Flow(first, name="flow"), first, second


class Inner(Flow):
    """A flow with hooks of its own, whose action is "x"."""

    def prep(self, shared):
        return shared["n"]

    def post(self, shared, prep_res, exec_res):
        shared["inner"] = prep_res, exec_res
        return "x"


def nested():
    """A flow in a flow, and a node after it."""
    inner = Inner(Adds("leaf"), name="inner")
    inner - "x" >> Adds("last")
    return Flow(inner, name="flow")


class Tens(BatchNode):
    """Ten times each of ``shared["items"]``, read as a generator where ``shared["lazily"]`` says so."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.calls, self.pulls = Ledger(), Ledger()

    def prep(self, shared):
        def pull():
            for item in shared["items"]:
                self.pulls.append(item)
                yield item

        return pull() if shared.get("lazily") else shared["items"]

    def exec(self, item):
        self.calls.append(item)
        return item * 10

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res
        shared["read"] = list(prep_res)


class Sets(BatchFlow):
    """Walks once for each of ``shared["sets"]``."""

    def prep(self, shared):
        return [{"k": k} for k in shared["sets"]]

    def post(self, shared, prep_res, exec_res):
        shared["walks"] = exec_res


class Seen(Node):
    """Gives back its params, and lists them in ``shared["seen"]``."""

    def exec(self, prep_res):
        return dict(self.params)

    def post(self, shared, prep_res, exec_res):
        shared["seen"] = [*shared.get("seen", []), tuple(exec_res.values())]


class Countdown(Node):
    """Goes round until ``shared["left"]`` is 0."""

    def prep(self, shared):
        return shared["left"]

    def exec(self, left):
        return left - 1

    def post(self, shared, prep_res, exec_res):
        shared["left"] = exec_res
        return "again" if exec_res else "done"


def loop(rounds):
    """A loop of one node, and a node after it."""
    node = Countdown(name="loop")
    node - "again" >> node
    node - "done" >> Node(name="last")
    return Flow(node, name="flow").stepper({"left": rounds})


class Breaks(Adds):
    """Fails as long as its ``broken`` says so."""

    broken = True

    def exec(self, n):
        if self.broken:
            raise LookupError("no answer")
        return super().exec(n)


def breaking(hook, error):
    """Two nodes, of which the second has a hook that changes ``shared`` (where it sees it) and then raises."""

    def prep(self, shared):
        shared["n"] += 100
        raise error

    def exec(self, shared, prep_res):
        shared["n"] += 100
        raise error

    def post(self, shared, prep_res, exec_res):
        shared["n"] += 100
        raise error

    cls = type("Bad", (Node,), {hook: {"prep": prep, "exec": exec, "post": post}[hook]})
    first = Adds("first")
    first >> cls(name="bad")
    return Flow(first, name="flow"), first


# ---- into, over, out, run --------------------------------------------------------------------------------------------


def test_a_new_stepper_has_run_nothing():
    """It stands before the first prep."""
    flow, first, _ = two()
    shared = {"n": 0}
    stepper = flow.stepper(shared)
    assert at(stepper.place) == ("first", BEFORE)
    assert stepper.shared is shared
    assert (shared, first.calls, counts(stepper)) == ({"n": 0}, [], (0, 0))
    assert str(stepper.place) == "flow/first  visit 1  before prep  called 0, replayed 0"
    assert repr(stepper) == f"<Stepper {stepper.place}>"


def test_into_stops_after_each_hook():
    """Before prep, after prep, after exec, after post of each node, and at the end."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stops = [at(stepper.place), *walk(stepper)]
    assert stops == [*itertools.product(["first", "second"], HOOKS), ("flow", END)]
    assert stepper.shared == {"n": 2}


def test_into_goes_into_a_flow():
    """And out of it again; hooks of the flow itself are hooks like others."""
    stepper = nested().stepper({"n": 0})
    stops = [at(stepper.place), *walk(stepper)]
    assert stops == [
        *[("inner", BEFORE), ("inner", PREPPED)],
        *[("leaf", phase) for phase in HOOKS],
        *[("inner", EXECED), ("inner", POSTED)],
        *[("last", phase) for phase in HOOKS],
        ("flow", END),
    ]
    assert stepper.shared == {"n": 2, "inner": (0, None)}


def test_hooks_that_were_not_written_are_no_stops():
    """Where nothing of the user's runs, `into` does not stop."""

    class OnlyPost(Node):
        def post(self, shared, prep_res, exec_res):
            shared["done"] = True

    stepper = Flow(OnlyPost(name="only")).stepper({})
    assert walk(stepper) == [("only", POSTED), ("Flow", END)]


def test_over_stops_before_the_next_node():
    """Whatever is within the node is done."""
    stepper = nested().stepper({"n": 0})
    assert walk(stepper, "over") == [("last", BEFORE), ("flow", END)]
    assert stepper.shared == {"n": 2, "inner": (0, None)}


def test_over_from_the_middle_of_a_node_ends_that_node():
    """After a prep, `over` does the rest."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.into()
    assert at(stepper.over()) == ("second", BEFORE)


def test_over_on_the_last_node_within_a_flow_comes_to_the_next_node_outside():
    """There is nothing left to stop at within."""
    stepper = nested().stepper({"n": 0})
    stepper.into()
    assert at(stepper.into()) == ("leaf", BEFORE)
    assert at(stepper.over()) == ("last", BEFORE)


def test_out_ends_the_walk_and_stops_before_the_posts_of_the_flow():
    """Then the flow's exec is done, and its post is next."""
    stepper = nested().stepper({"n": 0})
    stepper.into()
    stepper.into()
    assert at(stepper.out()) == ("inner", EXECED)
    assert "inner" not in stepper.shared
    assert at(stepper.out()) == ("flow", END)


def test_run_comes_to_the_end():
    """Without breakpoints; then every command stays there."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    place = stepper.run()
    assert (at(place), place.is_end, place.action) == (("flow", END), True, None)
    assert stepper.record.status == "ok"
    assert flow.last_run is None
    for command in ("into", "over", "out", "run"):
        assert getattr(stepper, command)() == place
    assert stepper.shared == {"n": 2}


def test_a_loop_is_a_visit_each_time():
    """The place says which pass of the node it is."""
    stepper = loop(3)
    places = [stepper.over() for _ in range(3)]
    assert [(at(place)[0], place.visit) for place in places] == [("loop", 2), ("loop", 3), ("last", 1)]


def test_visits_are_counted_again_after_going_back():
    """The same passes have the same numbers on every branch."""
    stepper = loop(3)
    stepper.over()
    stepper.over()
    assert stepper.place.visit == 3
    stepper.back(2)
    stepper.set("left", 2)
    assert stepper.place.visit == 1
    assert stepper.over().visit == 2
    assert list(stepper.history["visit"]) == [1, 2]


def test_a_single_node_is_stepped_through_too():
    """A stepper of a node stops at its hooks."""
    stepper = Adds("alone").stepper({"n": 4})
    assert at(stepper.place) == ("alone", BEFORE)
    assert walk(stepper) == [("alone", PREPPED), ("alone", EXECED), ("alone", POSTED), ("alone", END)]
    assert stepper.shared == {"n": 5}


def test_going_back_in_a_single_node_pays_for_nothing_twice():
    """Also where hooks leave something on the node, which serves its visit itself."""

    class Keeps(Adds):
        def exec(self, n):
            self.seen = n
            return super().exec(n)

        def post(self, shared, prep_res, exec_res):
            self.ended = True
            super().post(shared, prep_res, exec_res)

    node = Keeps("alone")
    stepper = node.stepper({"n": 4})
    stepper.run()
    stepper.back()
    stepper.rerun()
    assert (node.calls, counts(stepper)) == ([4], (1, 1))


def test_a_flow_without_a_start_has_no_stepper():
    """It is refused at once, as `run` does."""
    with pytest.raises(WiringError, match="start"):
        Flow().stepper({})


def test_a_batch_flow_without_prep_walks_nothing():
    """A stepper stands before its first hook, and has run none of them."""
    ran = []

    class Empty(BatchFlow):
        def post(self, shared, prep_res, exec_res):
            ran.append(exec_res)

    stepper = Empty(Adds("leaf")).stepper({"n": 0})
    assert ran == []
    assert stepper.run().is_end
    assert ran == [[]]


def test_pending_is_what_the_next_step_goes_on_from():
    """Node, phase, and what the hooks of the visit have returned."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    seen = []
    for _ in range(4):
        seen.append(stepper.pending[1:])
        assert stepper.pending.node is first
        stepper.into()
    assert seen == [
        (BEFORE, None, None, None),
        (PREPPED, 0, None, None),
        (EXECED, 0, 1, None),
        (POSTED, 0, 1, None),
    ]


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_into_goes_item_by_item(lazily):
    """Through a batch node; the place says how many are done."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3], "lazily": lazily})
    assert at(stepper.into()) == ("tens", PREPPED)
    for n in (1, 2, 3):
        place = stepper.into()
        assert (at(place), place.item, node.calls) == (("tens", EXECED), n, [1, 2, 3][:n])
        assert place.items in (3, None)
        assert stepper.pending.exec_res == [10, 20, 30][:n]
        assert node.pulls in ([], node.calls)
    place = stepper.into()
    assert (at(place), place.item) == (("tens", EXECED), None)
    stepper.run()
    assert stepper.shared["results"] == [10, 20, 30]


def test_over_does_all_items():
    """Without stopping in between."""
    stepper = Flow(Tens()).stepper({"items": [1, 2, 3]})
    assert stepper.over().is_end
    assert stepper.shared["results"] == [10, 20, 30]


def assert_goes_back_and_on(stepper, back):
    """After three items forwards and some back, a run to the end has the result of every item."""
    for _ in range(4):
        stepper.into()
    assert stepper.place.item == 3
    stepper.back(back)
    assert stepper.place.item == (3 - back or None)
    stepper.set("note", back)  # so that what comes is not just gone along
    stepper.run()
    assert (stepper.shared["results"], stepper.shared["read"]) == ([10, 20, 30, 40], [1, 2, 3, 4])


@pytest.mark.parametrize("back", [1, 2, 3])
def test_going_back_between_two_items_of_a_generator(back):
    """The items that come after are read again, each was pulled once, and each was paid for once."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3, 4], "lazily": True})
    assert_goes_back_and_on(stepper, back)
    assert (node.pulls, node.calls) == ([1, 2, 3, 4], [1, 2, 3, 4])


@pytest.mark.parametrize(
    "items",
    [range(1, 5), {1: "a", 2: "b", 3: "c", 4: "d"}.keys(), pd.Series([1, 2, 3, 4])],
    ids=["range", "keys", "series"],
)
@pytest.mark.parametrize("back", [1, 2, 3])
def test_going_back_between_two_items_that_are_not_in_a_list(items, back):
    """So it is with the items of anything else that can be read again."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": items})
    assert_goes_back_and_on(stepper, back)
    assert node.calls == [1, 2, 3, 4]


def test_going_back_takes_back_items_that_were_added_since():
    """Going back before a call removes what ``exec`` appended to the list that ``prep`` returned."""

    class Crawl(BatchNode):
        def prep(self, shared):
            self.pages = [1, 2]
            return self.pages

        def exec(self, shared, page):
            if page == 2 and shared.get("deeper", True):
                self.pages.append(3)
            return page * 10

        def post(self, shared, prep_res, exec_res):
            shared["results"], shared["read"] = exec_res, list(prep_res)

    stepper = Flow(Crawl(volatile=True)).stepper({})
    for _ in range(4):
        stepper.into()
    assert stepper.place.item == 3
    stepper.back(2)
    assert stepper.place.item == 1
    stepper.set("deeper", False)
    stepper.run()
    assert (stepper.shared["results"], stepper.shared["read"]) == ([10, 20], [1, 2])


@pytest.mark.parametrize("done", [0, 1, 3])
def test_going_back_to_one_item_of_a_generator_again_and_again(done):
    """Each time all that comes after it is there."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3, 4], "lazily": True})
    for _ in range(5):
        stepper.into()
    for n in range(3):
        stepper.goto(1 + done)
        assert stepper.place.item == (done or None)
        stepper.set("edited", n)
        stepper.run()
        assert stepper.shared["results"] == [10, 20, 30, 40]
    assert (node.pulls, node.calls) == ([1, 2, 3, 4], [1, 2, 3, 4])


def test_what_a_batch_flow_leaves_on_itself_goes_back_too():
    """What its ``exec`` counts, set by set, is there in its ``post``, and counted once after going back."""

    class Counting(Handing):
        def prep(self, shared):
            self.count = 0
            return super().prep(shared)

        def exec(self, directory):
            self.count += 1
            return super().exec(directory)

        def post(self, shared, prep_res, exec_res):
            shared["count"] = self.count

    # one around it, since the outermost node serves its visit itself
    stepper = Flow(Counting(ByHand(Seen(name="leaf")))).stepper({})
    leaves = []
    while not stepper.place.is_end:
        if at(stepper.place) == ("leaf", BEFORE):
            leaves.append(int(stepper.tree.partition("->")[2].partition(":")[0]))
        stepper.into()
    assert stepper.shared["count"] == 2
    for n, number in enumerate(leaves):
        stepper.goto(number)
        stepper.set("edited", n)
        stepper.run()
        assert stepper.shared["count"] == 2


@pytest.mark.parametrize("way", ["into", "over", "run"])
def test_a_generator_that_fails_is_not_taken_for_one_that_has_ended(way):
    """A retry between two items does not end the batch early."""

    class Pages(Tens):
        def prep(self, shared):
            yield from [1, 2]
            if broken:
                raise OSError("no network")
            yield 3

    broken = Ledger([True])
    node = Pages(name="tens")
    stepper = Flow(node).stepper({})
    while stepper.error is None:
        stepper.into()
    assert stepper.place.item == 2
    for _ in range(3):
        getattr(stepper, way)()
    assert stepper.error is not None
    assert "results" not in stepper.shared
    broken.clear()
    stepper.goto(0)
    stepper.rerun()
    assert (stepper.shared["results"], node.calls) == ([10, 20, 30], [1, 2, 3])


def test_going_back_to_before_the_prep_makes_another_generator():
    """Its items are read again, but each is called only once."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2], "lazily": True})
    stepper.run()
    stepper.goto(0)
    stepper.rerun()
    assert stepper.shared["results"] == [10, 20]
    assert (node.pulls, node.calls) == ([1, 2, 1, 2], [1, 2])


def test_out_goes_param_set_by_param_set():
    """It stops before the first node of the next set, and after the last set before the post of the batch flow."""
    stepper = Sets(Seen(name="leaf"), name="sets").stepper({"sets": "abc"})
    stepper.into()
    stops = []
    place = stepper.into()
    while not place.is_end:
        stops.append((*at(place), place.param_set, dict(place.params)))
        place = stepper.out()
    assert stops == [
        ("leaf", BEFORE, 1, {"k": "a"}),
        ("leaf", BEFORE, 2, {"k": "b"}),
        ("leaf", BEFORE, 3, {"k": "c"}),
        ("sets", EXECED, None, {}),
    ]
    assert stepper.shared["seen"] == [("a",), ("b",), ("c",)]


def test_the_place_says_which_param_set():
    """Number, how many there are, and the params."""
    stepper = Sets(Seen(name="leaf"), name="sets").stepper({"sets": "abc"})
    stepper.into()
    stepper.into()
    assert str(stepper.out()) == ("sets/leaf  visit 1, param set 2 of 3, with k='b'  before prep  called 1, replayed 0")


@pytest.mark.parametrize("way", ["into", "over", "out", "run"])
def test_param_sets_from_an_async_generator(way):
    """All of them are walked, each in its turn."""

    class Stream(BatchFlow):
        async def prep(self, shared):
            for k in range(3):
                await asyncio.sleep(0)
                yield {"k": k}

    stepper = Stream(Seen(name="leaf")).stepper({})
    walk(stepper, way)
    assert stepper.shared["seen"] == [(0,), (1,), (2,)]
    assert stepper.place.is_end


FILES = {"d1": ["a", "b"], "d2": ["c"]}


class ByPrep(BatchFlow):
    def prep(self, shared):
        return [{"file": file} for file in FILES[self.params["directory"]]]


class ByHand(BatchFlow):
    item_key = "file"


class Directories(BatchFlow):
    def prep(self, shared):
        return [{"directory": directory} for directory in FILES]


class Handing(BatchFlow):
    item_key = "directory"

    def prep(self, shared):
        return list(FILES)

    def exec(self, directory):
        return FILES[directory]


class Listing(Directories):
    def exec(self, element):
        return [{**element, "file": file} for file in FILES[element["directory"]]]


NESTED = {
    "prep": lambda leaf: Directories(ByPrep(leaf)),
    "exec": lambda leaf: Handing(ByHand(leaf)),
    "exec alone": Listing,
}


@pytest.mark.parametrize("way", ["into", "over", "out", "run"])
@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_nested_batch_flows_every_way(nested, way):
    """The inner sets come from the inner ``prep``, or from the outer ``exec``: the same leaves, in order."""
    stepper = nested(Seen(name="leaf")).stepper({})
    walk(stepper, way)
    assert stepper.shared["seen"] == [("d1", "a"), ("d1", "b"), ("d2", "c")]
    assert stepper.place.is_end


@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_back_through_nested_batch_flows(nested):
    """From each leaf back to the one before, and on to the end again."""
    stepper = nested(Seen(name="leaf")).stepper({})
    leaves = []
    while not stepper.place.is_end:
        if at(stepper.place) == ("leaf", BEFORE):
            leaves.append(int(stepper.tree.partition("->")[2].partition(":")[0]))
        stepper.into()
    called = stepper.called
    end = dict(stepper.shared)
    assert len(leaves) == 3
    for n, number in reversed([*enumerate(leaves)]):
        stepper.goto(number)
        assert len(stepper.shared.get("seen", [])) == n
        stepper.set("again", n)
        stepper.run()
        assert stepper.shared == {**end, "again": n}
    assert stepper.called == called


# ---- async hooks, retries, fallbacks, rows that fail -----------------------------------------------------------------


def test_async_hooks_are_stepped_through():
    """They are awaited on the way, and each is a stop."""

    class Async(Node):
        async def prep(self, shared):
            await asyncio.sleep(0)
            return shared["n"]

        async def exec(self, n):
            await asyncio.sleep(0)
            return n + 1

        async def post(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            shared["n"] = exec_res

    stepper = Flow(Async(name="async")).stepper({"n": 1})
    assert walk(stepper) == [("async", PREPPED), ("async", EXECED), ("async", POSTED), ("Flow", END)]
    assert stepper.shared == {"n": 2}
    stepper.goto(0)
    stepper.rerun()
    assert (stepper.shared, counts(stepper)) == ({"n": 2}, (1, 1))


def test_async_items_side_by_side():
    """`into` takes one at a time, `over` all, and both are paid for once."""

    class Async(BatchNode):
        def prep(self, shared):
            return range(4)

        async def exec(self, item):
            await asyncio.sleep(0)
            return item * 10

        def post(self, shared, prep_res, exec_res):
            shared["results"] = exec_res

    stepper = Flow(Async(name="batch", max_concurrency=None)).stepper({})
    stepper.into()
    assert [stepper.into().item for _ in range(4)] == [1, 2, 3, 4]
    stepper.goto(0)
    stepper.set("x", 1)
    stepper.run()
    assert (stepper.shared["results"], counts(stepper)) == ([0, 10, 20, 30], (4, 4))


def test_a_call_that_the_fallback_answered_is_no_answer():
    """Attempts are no stops, the record says how many there were; run again, the model is asked again."""

    class Tries(Node):
        def exec(self, prep_res):
            attempts.append(self.cur_retry)
            raise LookupError("no")

        def exec_fallback(self, prep_res, exc):
            return f"instead of {exc}"

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res

    attempts = Ledger()
    stepper = Flow(Tries(name="tries", max_retries=3)).stepper({})
    walk(stepper)
    for again in (False, True):
        if again:
            stepper.goto(0)
            stepper.rerun()
        assert stepper.shared == {"answer": "instead of no"}
        assert attempts == [0, 1, 2] * (1 + again)
        assert counts(stepper) == (3 * (1 + again), 0)  # each attempt is paid for
        visit = stepper.record.visits[0]
        assert (visit.node, visit.status, visit.attempts) == ("tries", "fallback", 3)


def test_calls_that_wait_for_a_limiter_are_counted_once():
    """Also where more calls are ready than the limiter lets through."""
    node = Tens(name="tens", max_concurrency=4, limiter=Limiter(max_concurrency=1))
    stepper = Flow(node).stepper({"items": list(range(6))})
    stepper.run()
    assert (len(node.calls), counts(stepper)) == (6, (6, 0))


def test_attempts_are_in_the_record_after_a_replay():
    """What took two attempts still says so when it is answered by its result."""

    class Second(Node):
        def exec(self, prep_res):
            if self.cur_retry == 0:
                raise LookupError("no")
            return "yes"

    stepper = Flow(Second(name="second", max_retries=2)).stepper({})
    stepper.run()
    stepper.goto(0)
    stepper.rerun()
    assert counts(stepper) == (2, 1)
    visit = stepper.record.visits[0]
    assert (visit.node, visit.status, visit.attempts) == ("second", "ok", 2)


@pytest.mark.parametrize("way", ["into", "over"])
def test_failed_rows_that_are_kept(way):
    """``on_error="keep"``: a failed item is a row, and stepping continues."""

    class Inverse(BatchNode):
        def prep(self, shared):
            return [1, 0, 2]

        def exec(self, item):
            return 1 / item

        def post(self, shared, prep_res, exec_res):
            shared["results"] = exec_res

    node = Inverse(name="inverse", on_error="keep")
    stepper = Flow(node).stepper({})
    walk(stepper, way)
    assert stepper.shared == {"results": [1.0, None, 0.5]}
    assert [row.status for row in stepper.record.batch(node)] == ["ok", "failed", "ok"]
    assert [row.error_type for row in stepper.record.batch(node).errors.itertuples()] == ["ZeroDivisionError"]


# ---- breakpoints -----------------------------------------------------------------------------------------------------


def test_run_stops_before_a_node():
    """By its object, its name or its path; the breakpoint stays until it is removed."""
    flow, _, second = two()
    for which in (second, "second", "flow/second"):
        stepper = flow.stepper({"n": 0})
        found = stepper.breakpoints.add(which)
        assert at(stepper.run()) == ("second", BEFORE)
        stepper.goto(0)
        assert at(stepper.run()) == ("second", BEFORE)
        stepper.goto(0)
        stepper.breakpoints.remove(found)
        assert stepper.run().is_end


def test_run_stops_after_a_node():
    """When the action is there, and before the edge is followed."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    stepper.breakpoints.add(first, when="after")
    assert at(stepper.run()) == ("first", POSTED)
    assert stepper.shared == {"n": 1}
    assert stepper.run().is_end


def test_run_stops_at_a_visit():
    """At that pass of the node only."""
    stepper = loop(5)
    stepper.breakpoints.add("loop", visit=3)
    place = stepper.run()
    assert (at(place), place.visit, stepper.shared) == (("loop", BEFORE), 3, {"left": 3})
    assert stepper.run().is_end


def test_run_stops_on_an_action():
    """After the post that returned it."""
    stepper = loop(3)
    stepper.breakpoints.add(action="done")
    place = stepper.run()
    assert (at(place), place.action, place.visit) == (("loop", POSTED), "done", 3)


def test_no_action_is_the_default_one():
    """``action="default"`` stops also where ``post`` returned None."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.breakpoints.add("second", action="default")
    assert at(stepper.run()) == ("second", POSTED)


def test_run_stops_at_a_condition_on_shared():
    """It stops before the first node at which the function returns a true value."""
    stepper = loop(5)
    stepper.breakpoints.add(where=lambda shared: shared["left"] == 2)
    assert (at(stepper.run()), stepper.shared) == (("loop", BEFORE), {"left": 2})


def test_conditions_of_one_breakpoint_hold_together():
    """A node, a visit and a condition: it stops only if all hold."""
    stepper = loop(5)
    stepper.breakpoints.add("loop", visit=2, where=lambda shared: shared["left"] == 99)
    assert stepper.run().is_end


def test_breakpoints_hold_at_any_depth_and_for_every_command():
    """`over` stops at a node within the flow that it runs."""
    stepper = nested().stepper({"n": 0})
    stepper.breakpoints.add("leaf")
    assert at(stepper.over()) == ("leaf", BEFORE)


def test_breakpoints_hold_along_known_places():
    """After going back, it stops without running a hook."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    walk(stepper)
    stepper.goto(0)
    stepper.breakpoints.add("first", when="after")
    stepper.breakpoints.add("second")
    assert at(stepper.run()) == ("first", POSTED)
    assert at(stepper.run()) == ("second", BEFORE)
    assert counts(stepper) == (2, 0)


def test_a_condition_along_known_places_reads_shared_of_each_place():
    """After going back, ``where`` is given what ``shared`` held at each place on the way."""
    stepper = loop(5)
    walk(stepper)
    stepper.goto(0)
    stepper.breakpoints.add(where=lambda shared: shared["left"] == 2)
    assert (at(stepper.run()), stepper.shared) == (("loop", BEFORE), {"left": 2})


def test_an_interrupted_condition_leaves_the_stepper_at_its_place():
    """The place and ``shared`` are those from before the command."""

    def interrupt(shared):
        raise KeyboardInterrupt

    stepper = loop(5)
    walk(stepper)
    stepper.goto(0)
    number = stepper.breakpoints.add(where=interrupt)
    with pytest.raises(KeyboardInterrupt):
        stepper.run()
    stepper.breakpoints.remove(number)
    assert (stepper.place.visit, stepper.shared) == (1, {"left": 5})
    assert stepper.run().is_end
    assert "edited" not in stepper.tree


def test_breakpoints_say_what_they_are():
    """Their text has the number that `remove` takes."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    assert repr(stepper.breakpoints) == "no breakpoints"
    stepper.breakpoints.add(first, visit=2)
    stepper.breakpoints.add("second", action="x")
    assert repr(stepper.breakpoints) == "1: before first, visit 2\n2: after second, on 'x'"
    assert len(stepper.breakpoints) == 2
    stepper.breakpoints.remove(1)
    assert [found.number for found in stepper.breakpoints] == [2]
    stepper.breakpoints.clear()
    assert len(stepper.breakpoints) == 0


def test_breakpoints_refuse_what_makes_no_sense():
    """A node that does not exist, no condition, an unknown ``when``, and an unknown number are refused."""
    flow, *_ = two()
    breakpoints = flow.stepper({"n": 0}).breakpoints
    with pytest.raises(SettingError, match=r"no such node \(did you mean 'second'\?\)"):
        breakpoints.add("secnd")
    with pytest.raises(SettingError, match="not in the flow"):
        breakpoints.add(Adds("first"))
    with pytest.raises(SettingError, match="give a node"):
        breakpoints.add()
    with pytest.raises(SettingError, match="must be 'before' or 'after'"):
        breakpoints.add("first", when="during")
    with pytest.raises(SettingError, match=r"remove\(7\)"):
        breakpoints.remove(7)
    assert len(breakpoints) == 0


def test_a_predicate_that_raises_says_so_and_loses_nothing():
    """If ``where`` raises, the stepper stops, and the note names the breakpoint."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.breakpoints.add(where=lambda shared: shared["missing"])
    place = stepper.run()
    assert "breakpoint 1: before any node" in place.note
    assert "raised KeyError: 'missing'" in place.note
    assert place.phase == "before prep"
    with pytest.raises(SettingError, match="must be a function of shared"):
        stepper.breakpoints.add(where="n")
    with pytest.raises(SettingError, match="must be 1 or more"):
        stepper.breakpoints.add("first", visit=0)
    stepper.breakpoints.clear()
    assert stepper.run().is_end
    assert (stepper.shared, counts(stepper)) == ({"n": 2}, (2, 0))


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_a_failure_leaves_all_as_before_the_hook(hook, capsys):
    """The step returns, the place says what it failed with, and ``shared`` is as it was."""
    flow, first = breaking(hook, LookupError("no answer"))
    stepper = flow.stepper({"n": 0})
    place = stepper.run()
    assert at(place) == ("bad", BEFORE)
    assert isinstance(place.error, LookupError)
    assert stepper.error is place.error
    assert stepper.shared == {"n": 1}
    assert "failed: LookupError: no answer" in str(place)
    assert "LookupError: no answer" in capsys.readouterr().err
    stepper.run()
    assert (stepper.shared, first.calls) == ({"n": 1}, [0])


@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_a_failure_by_hooks_is_at_the_hook(hook):
    """With `into` the place is the one before the hook that raised."""
    flow, _ = breaking(hook, LookupError("no answer"))
    stepper = flow.stepper({"n": 0})
    walk(stepper)
    assert at(stepper.place) == ("bad", BEFORE)
    assert stepper.shared == {"n": 1}


def test_a_failure_is_raised_where_that_is_asked_for():
    """``on_exception = False``: the error comes out, and the place is as before it."""
    flow, _ = breaking("post", LookupError("no answer"))
    stepper = flow.stepper({"n": 0})
    stepper.breakpoints.on_exception = False
    with pytest.raises(LookupError, match="no answer"):
        stepper.run()
    assert (at(stepper.place), stepper.shared) == (("bad", BEFORE), {"n": 1})


def test_a_failure_of_an_item_keeps_the_items_before():
    """They are not called again when the stepper continues."""

    class Fails(Tens):
        def exec(self, item):
            if item == 3 and broken:
                raise LookupError("no answer")
            return super().exec(item)

    broken = Ledger([True])
    node = Fails(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3, 4]})
    stepper.run()
    assert isinstance(stepper.error, LookupError)
    broken.clear()
    stepper.rerun()
    assert stepper.shared["results"] == [10, 20, 30, 40]
    assert node.calls == [1, 2, 3, 4]


def test_rerun_goes_on_after_a_failure_was_mended():
    """Nodes before are not called again; the failed one is."""
    first, bad, last = Adds("first"), Breaks("bad"), Adds("last")
    first >> bad >> last
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    assert stepper.error is not None
    bad.broken = False
    assert at(stepper.rerun()) == ("last", BEFORE)
    assert stepper.error is None
    stepper.run()
    assert stepper.shared == {"n": 3}
    assert (first.calls, bad.calls, last.calls) == ([0], [1], [2])


@pytest.mark.parametrize("command", ["into", "over", "run"])
def test_any_command_tries_again_after_a_failure(command):
    """Going on is trying again."""
    first, bad = Adds("first"), Breaks("bad")
    first >> bad
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    bad.broken = False
    walk(stepper, command)
    assert (stepper.shared, first.calls, stepper.error) == ({"n": 2}, [0], None)


@pytest.mark.parametrize("way", ["run", "over", "into"])
def test_a_failure_within_a_batch_names_the_item_that_failed(way, capsys):
    """The place, the tree and the error's note name the item whose call failed, not the one that was done before."""

    class Fails(Tens):
        def exec(self, item):
            if item == 8:
                raise LookupError("no answer")
            return super().exec(item)

    stepper = Flow(Fails(name="tens"), name="flow").stepper({"items": range(1, 13)})
    stepper.to_item(7 if way == "into" else 3)
    place = getattr(stepper, way)()
    assert place.failed_item == 8
    assert "failed at item 8: LookupError: no answer" in str(place)
    assert "failed at item 8: LookupError" in stepper.tree.splitlines()[-1]
    [note] = stepper.error.__notes__
    assert note == "in flow > tens, item 8 of 12 (row 7); completed results are in stepper.record"


def test_a_failure_before_the_calls_of_a_batch_names_no_item():
    """Where prep fails there is no item."""

    class Fails(Tens):
        def prep(self, shared):
            raise LookupError("no items")

    place = Flow(Fails(name="tens")).stepper({}).run()
    assert place.failed_item is None
    assert "  failed: LookupError: no items" in str(place)


@pytest.mark.parametrize("command", ["into", "run"])
def test_a_stepper_leaves_the_record_of_a_failed_run(command):
    """Opening a stepper, and stepping, touches neither ``last_run`` nor what it holds, so ``resume`` still works."""
    first, bad = Adds("first"), Breaks("bad")
    first >> bad
    flow, shared = Flow(first, name="flow"), {"n": 0}
    with pytest.raises(LookupError):
        flow.run(shared)
    record, rows = flow.last_run, len(flow.last_run.steps)
    stepper = flow.stepper(dict(shared))
    getattr(stepper, command)()
    assert flow.last_run is record
    assert record is not stepper.record
    assert (record.status, len(record.steps)) == ("failed", rows)
    bad.broken = False
    record.resume()
    assert (record.status, shared) == ("ok", {"n": 2})


def test_history_shows_the_failure():
    """The row of the visit has the error; after it was mended, the way on is a line as any."""
    first, bad = Adds("first"), Breaks("bad")
    first >> bad
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    rows = stepper.history
    assert list(rows["node"]) == ["first", "bad"]
    assert list(rows["status"]) == ["ok", "failed"]
    assert rows["error"].iloc[1] == "LookupError: no answer"


def test_an_interrupt_leaves_all_as_before():
    """KeyboardInterrupt comes out, and the stepper can be used."""
    first = Adds("first")

    class Interrupted(Node):
        def exec(self, shared, prep_res):
            shared["n"] = 100
            if interrupts.pop():
                raise KeyboardInterrupt
            return "done"

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res

    interrupts = Ledger([False, True])
    first >> Interrupted(name="model")
    stepper = Flow(first).stepper({"n": 0})
    with pytest.raises(KeyboardInterrupt):
        stepper.run()
    assert (at(stepper.place), stepper.shared) == (("model", BEFORE), {"n": 1})
    assert stepper.run().is_end
    assert stepper.shared["answer"] == "done"
    assert first.calls == [0]


def test_an_interrupt_between_items_keeps_those_that_were_paid():
    """They are not called again."""

    class Interrupted(Tens):
        def exec(self, item):
            if item == 3 and interrupts:
                interrupts.pop()
                raise KeyboardInterrupt
            return super().exec(item)

    interrupts = Ledger([True])
    node = Interrupted()
    stepper = Flow(node).stepper({"items": [1, 2, 3]})
    with pytest.raises(KeyboardInterrupt):
        stepper.run()
    stepper.run()
    assert (stepper.shared["results"], node.calls) == ([10, 20, 30], [1, 2, 3])


# ---- back and goto ---------------------------------------------------------------------------------------------------


def test_back_and_forward_runs_nothing():
    """Hooks are not called when nothing was changed, and ``shared`` is as it was each time."""
    flow, first, second = two()
    stepper = flow.stepper({"n": 0})
    seen = [dict(stepper.shared)]
    while not stepper.place.is_end:
        stepper.into()
        seen.append(dict(stepper.shared))
    for n in range(len(seen) - 2, -1, -1):
        stepper.back()
        assert stepper.shared == seen[n]
    for n in range(1, len(seen)):
        stepper.into()
        assert stepper.shared == seen[n]
    assert stepper.place.is_end
    assert (first.calls, second.calls, counts(stepper)) == ([0], [1], (2, 0))
    assert stepper.record.status == "ok"


def test_back_goes_to_the_first_place_at_most():
    """More than there are is no error."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.over()
    assert at(stepper.back(10)) == ("first", BEFORE)
    assert at(stepper.back()) == ("first", BEFORE)


def test_the_record_goes_back_too():
    """Visits that are undone are not in it, and not twice after going on."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    assert [visit.node for visit in stepper.record.visits] == ["first", "second", "flow"]
    stepper.goto(1)
    assert [visit.node for visit in stepper.record.visits] == ["first"]
    assert stepper.record.status == "running"
    stepper.set("n", 10)
    stepper.run()
    assert [visit.node for visit in stepper.record.visits] == ["first", "second", "flow"]


def test_the_tree_keeps_what_was_left():
    """An edit opens a branch, and the old one can be gone to."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    stepper.goto(1)
    stepper.set("n", 10)
    stepper.run()
    assert stepper.shared == {"n": 11}
    assert stepper.tree.splitlines() == [
        "   0: flow/first  visit 1  before prep",
        "   1: flow/second  visit 1  before prep",
        "   2: flow  visit 1  at the end",
        "     3: flow/second  visit 1  before prep  edited n",
        "->   4: flow  visit 1  at the end",
    ]
    stepper.goto(2)
    assert stepper.shared == {"n": 2}


def test_forward_leaves_out_an_edit_that_was_gone_back_from():
    """From the place before an edit, going on is going on without it."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.set("n", 10)
    stepper.run()
    assert stepper.shared == {"n": 12}
    stepper.goto(0)
    stepper.run()
    assert stepper.shared == {"n": 2}


@pytest.mark.parametrize("end", [2, 5])
def test_forward_goes_along_the_branch_that_was_chosen(end):
    """After `goto` to either end and back, a forward command reaches that end again without running a hook."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    stepper.goto(1)
    stepper.force("other")
    stepper.run()
    stepper.goto(end)
    there, made = stepper.tree, counts(stepper)
    stepper.back(1)
    stepper.run()
    assert (stepper.tree, counts(stepper)) == (there, made)


@pytest.mark.parametrize("command", ["into", "over", "run"])
def test_forward_tries_again_where_it_failed(command):
    """Also if it was gone back to before the failure, and it was not the code that was at fault."""

    class Fails(Adds):
        def prep(self, shared):
            if broken:
                raise LookupError("no network")
            return super().prep(shared)

    broken = Ledger([True])
    first = Adds("first")
    first >> Fails("fails")
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    assert stepper.error is not None
    broken.clear()
    stepper.goto(1)
    getattr(stepper, command)()
    assert stepper.error is None
    stepper.run()
    assert (stepper.place.is_end, stepper.shared, first.calls) == (True, {"n": 2}, [0])


@pytest.mark.parametrize("number", [-1, 3, 99, "1", True, 1.0, None])
def test_goto_refuses_what_is_no_place(number):
    """The places are counted from 0; nothing is moved."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    with pytest.raises(SettingError, match="the places are 0 to 2"):
        stepper.goto(number)
    assert stepper.place.is_end


@pytest.mark.parametrize("places", [-1, "1", 1.5, None])
def test_back_refuses_what_is_no_number_of_places(places):
    """A number that is not negative, and nothing else; nothing is moved."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    with pytest.raises((SettingError, TypeError)):
        stepper.back(places)
    assert stepper.place.is_end


# ---- set, delete, force, mock, rerun ---------------------------------------------------------------------------------


def test_set_and_delete_keys():
    """Each is a place of its own, and the next hook sees it."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0, "x": 1})
    stepper.set("n", 5)
    stepper.delete("x")
    assert stepper.shared == {"n": 5}
    stepper.run()
    assert stepper.shared == {"n": 7}
    stepper.goto(0)
    assert stepper.shared == {"n": 0, "x": 1}
    assert list(stepper.shared) == ["n", "x"]


def test_delete_refuses_a_key_that_is_not_there():
    """And says which there are."""
    flow, *_ = two()
    with pytest.raises(SettingError, match=r"delete\('m'\).*\['n'\]"):
        flow.stepper({"n": 0}).delete("m")


def test_what_is_changed_in_shared_itself_is_an_edit():
    """It is noticed at the next command, and what was recorded from there is not gone along."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    stepper.goto(1)
    stepper.shared["n"] = 10
    stepper.run()
    assert stepper.shared == {"n": 11}
    assert "edited n" in stepper.tree
    assert list(stepper.history["calls"]) == ["called", "called, edited"]


def test_force_chooses_another_action():
    """It stops after the post, and continues along the other edge."""
    stepper = loop(3)
    place = stepper.force("done")
    assert (at(place), place.action, stepper.shared) == (("loop", POSTED), "done", {"left": 2})
    assert at(stepper.into()) == ("last", BEFORE)


def test_force_after_the_post_runs_nothing():
    """The action was chosen already, and is replaced."""
    stepper = loop(3)
    for _ in range(3):
        stepper.into()
    assert stepper.place.action == "again"
    assert stepper.force("done").action == "done"
    assert at(stepper.over()) == ("last", BEFORE)
    assert list(stepper.history["action"].iloc[:1]) == ["done"]


def test_force_says_where_there_is_no_edge():
    """With what was probably meant."""
    stepper = loop(3)
    assert "did you mean 'done'?" in stepper.force("doen").note


def test_force_refuses():
    """What is no action, and where the run has ended."""
    stepper = loop(1)
    with pytest.raises(HookReturnError, match="an action is a string or None, not an int"):
        stepper.force(3)
    stepper.run()
    with pytest.raises(RunStateError, match="the run has ended"):
        stepper.force("done")


def test_mock_answers_in_place_of_exec():
    """No call is made, and it stops after the exec."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    assert at(stepper.mock(41)) == ("first", EXECED)
    assert stepper.pending.exec_res == 41
    stepper.run()
    assert (stepper.shared, first.calls) == ({"n": 42}, [])
    assert list(stepper.history["calls"]) == ["mocked", "called"]


def test_mock_is_for_one_call():
    """Going back and on by another way calls the model."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    stepper.mock(41)
    stepper.goto(0)
    stepper.rerun()
    assert (stepper.shared, first.calls) == ({"n": 1}, [0])


def test_a_mock_that_no_call_came_for_is_forgotten():
    """As where ``prep`` failed: the next command asks the model."""

    class Fails(Adds):
        def prep(self, shared):
            if broken:
                raise LookupError("no")
            return super().prep(shared)

    broken = Ledger([True])
    node = Fails("fails")
    stepper = Flow(node).stepper({"n": 0})
    stepper.mock(41)
    assert stepper.error is not None
    broken.clear()
    stepper.rerun()
    assert (stepper.shared, node.calls) == ({"n": 1}, [0])


def test_mock_of_a_batch_takes_a_result_for_each_item():
    """Before its exec a list, between two items the result of the next one."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3]})
    stepper.mock(["a", "b", "c"])
    stepper.run()
    assert (stepper.shared["results"], node.calls) == (["a", "b", "c"], [])
    stepper.goto(0)
    stepper.into()
    stepper.into()
    stepper.mock("second")
    assert stepper.place.item == 2
    stepper.run()
    assert (stepper.shared["results"], node.calls) == ([10, "second", 30], [1, 3])


@pytest.mark.parametrize("results", [["a"], ["a", "b", "c", "d"]])
def test_mock_of_a_batch_refuses_another_number_of_results(results):
    """One for each item, as long as their number can be told."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3]})
    stepper.into()
    with pytest.raises(RunStateError, match="3"):
        stepper.mock(results)
    assert node.calls == []


def test_mock_refuses():
    """A flow, a batch without a list, an exec that is done."""
    with pytest.raises(RunStateError, match="is a flow"):
        nested().stepper({"n": 0}).mock(1)
    with pytest.raises(RunStateError, match="a list with one result for each"):
        Flow(Tens()).stepper({"items": [1]}).mock(1)
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.into()
    stepper.into()
    with pytest.raises(RunStateError, match="Go back to a place before its exec"):
        stepper.mock(1)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_rerun_comes_to_the_same_place_again(steps):
    """From the node's prep on, up to the phase that it is at."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    for _ in range(steps):
        stepper.into()
    place = stepper.place
    assert at(stepper.rerun()) == at(place)
    assert first.calls == ([0] if steps > 1 else [])
    assert stepper.shared == {"n": 1 if steps == 3 else 0}


def test_rerun_before_a_prep_runs_the_whole_node():
    """It runs the whole node again, and stops where `over` does."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    assert at(stepper.rerun()) == ("second", BEFORE)


def test_rerun_can_call_again():
    """The model is called again, for this node only."""
    flow, first, second = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    stepper.goto(0)
    stepper.rerun(call_again=True)
    stepper.run()
    assert (first.calls, second.calls, counts(stepper)) == ([0, 0], [1], (3, 1))


def test_rerun_at_the_end_runs_all_again():
    """The outermost flow is the node that the end is at."""
    flow, first, _ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    assert stepper.rerun().is_end
    assert (stepper.shared, first.calls) == ({"n": 2}, [0])


# ---- stop, and one thing at a time -----------------------------------------------------------------------------------


def test_stop_ends_it():
    """The record says so, and no further command is possible."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.over()
    assert at(stepper.stop()) == ("second", BEFORE)
    assert stepper.record.status == "stopped"
    for command in (stepper.into, stepper.run, stepper.back, lambda: stepper.set("n", 1)):
        with pytest.raises(RunStateError, match="was stopped; create another one"):
            command()
    assert stepper.shared == {"n": 1}
    stepper.stop()


def test_stop_after_the_end_changes_nothing():
    """The record stays as it ended."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.run()
    stepper.stop()
    assert stepper.record.status == "ok"


@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_a_pause_within_a_step_takes_effect_at_the_next_boundary(hook):
    """Nothing more is run, and what was paid for is not called again."""

    class Pauses(Adds):
        def prep(self, shared):
            self.pause_in("prep")
            return super().prep(shared)

        def exec(self, n):
            self.pause_in("exec")
            return super().exec(n)

        def post(self, shared, prep_res, exec_res):
            self.pause_in("post")
            super().post(shared, prep_res, exec_res)

        def pause_in(self, name):
            if name == hook and not paused:
                paused.append(name)
                steppers[0].pause()

    paused = Ledger()
    first, last = Pauses("first"), Adds("last")
    first >> last
    steppers = [stepper] = [Flow(first).stepper({"n": 0})]
    place = stepper.run()
    assert (paused, place.is_end, stepper.error, last.calls) == ([hook], False, None, [])
    assert stepper.record.status == "running"
    assert stepper.shared == {"n": int(at(place)[0] == "last")}
    assert stepper.run().is_end
    assert (stepper.shared, first.calls, last.calls) == ({"n": 2}, [0], [1])


def test_a_pause_between_items_keeps_those_that_were_paid():
    """They are not called again."""

    class Pauses(Tens):
        def exec(self, item):
            if item == 2 and 2 not in self.calls:
                steppers[0].pause()
            return super().exec(item)

    node = Pauses(name="tens")
    steppers = [stepper] = [Flow(node).stepper({"items": [1, 2, 3, 4]})]
    assert not stepper.run().is_end
    assert node.calls == [1, 2]
    assert stepper.run().is_end
    assert (stepper.shared["results"], node.calls) == ([10, 20, 30, 40], [1, 2, 3, 4])


def test_a_pause_when_nothing_runs_does_nothing():
    """The next command runs as usual."""
    flow, *_ = two()
    stepper = flow.stepper({"n": 0})
    stepper.pause()
    assert stepper.run().is_end


def test_to_item_goes_on_to_an_item():
    """It stops when this number of items is done, or at the end of the exec if there are fewer."""
    node = Tens(name="tens")
    stepper = Flow(node).stepper({"items": [1, 2, 3, 4]})
    assert (stepper.to_item(2).item, node.calls) == (2, [1, 2])
    assert (stepper.to_item(3).item, node.calls) == (3, [1, 2, 3])
    place = stepper.to_item(99)
    assert (at(place), place.item) == (("tens", EXECED), None)
    with pytest.raises(RunStateError, match="has no items left to run"):
        stepper.to_item(1)
    with pytest.raises(RunStateError, match="has no items left to run"):
        two()[0].stepper({"n": 0}).to_item(1)


@pytest.mark.parametrize("command", ["into", "back", "run", "rerun", "stop"])
def test_one_step_at_a_time(command):
    """A command from a hook of the stepper, or from another thread, raises while a command runs."""

    class Meddles(Node):
        def prep(self, shared):
            getattr(steppers[0], command)()

    steppers = [Flow(Meddles(name="meddles")).stepper({})]
    steppers[0].into()
    assert isinstance(steppers[0].error, RunStateError)
    assert "is running a command" in str(steppers[0].error)
    assert at(steppers[0].place) == ("meddles", BEFORE)


def test_what_is_printed_is_passed_on_and_kept(capsys):
    """In the history, beside the visit that printed it."""

    class Prints(Adds):
        def exec(self, n):
            print(f"asked {n}")
            return super().exec(n)

    first = Prints("first")
    first >> Adds("last")
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    assert capsys.readouterr().out == "asked 0\n"
    assert list(stepper.history["output"]) == ["asked 0\n", ""]


def test_history_has_a_row_for_each_visit():
    """Also for one that changed nothing."""
    first = Adds("first")
    first >> Node(name="idle")
    stepper = Flow(first).stepper({"n": 0})
    stepper.run()
    rows = stepper.history
    assert list(rows["node"]) == ["first", "idle"]
    assert list(rows["changed"]) == ["n", "no change"]
    assert list(rows["place"]) == [0, 1]
    assert stepper.diff(0, 1) == {"n": (0, 1)}
    assert stepper.diff(1) == {}


# ---- names -----------------------------------------------------------------------------------------------------------


def test_public_names():
    """What a user finds on a stepper: commands, what there is to see, and nothing of how it works."""
    stepper = Flow(Adds(), name="F").stepper({"n": 0})
    assert [name for name in dir(stepper) if not name.startswith("_")] == sorted(
        [
            *(
                "as_test",
                "back",
                "breakpoints",
                "called",
                "delete",
                "diff",
                "error",
                "force",
                "goto",
                "history",
                "into",
            ),
            *(
                "mock",
                "notes",
                "out",
                "over",
                "pause",
                "pending",
                "place",
                "record",
                "replayed",
                "rerun",
                "root",
                "run",
            ),
            *("set", "shared", "stop", "title", "to_item", "tree"),
        ]
    )


def test_each_command_of_the_table_is_a_method():
    """The widget and the docs show no command that a stepper does not have, and no key twice."""
    assert [command.name for command in COMMANDS if not callable(getattr(Stepper, command.name, None))] == []
    keys = [command.key for command in COMMANDS if command.key]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda boundary: f"{boundary.name} {boundary.mask}")
def test_into_stops_at_each_boundary_of_the_table(boundary):
    """In a batch node with all hooks, `into` stops at every boundary of the table."""
    stepper = Flow(Tens(), name="F").stepper({"items": [1, 2]})
    seen = [stepper.place]
    while not stepper.place.is_end:
        seen.append(stepper.into())
    assert boundary in {place.boundary for place in seen}


@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_exec_of_a_batch_flow_that_fails(on_error):
    """The error of the user's ``exec`` is shown, at the batch flow."""

    class Folders(BatchFlow):
        def prep(self, shared):
            return [{"folder": 1}]

        def exec(self, element):
            raise LookupError("no such folder")

    stepper = Flow(Folders(Node(), on_error=on_error), name="F").stepper({})
    stepper.run()
    assert "no such folder" in str(stepper.error)
    assert stepper.place.path == "F/Folders"
