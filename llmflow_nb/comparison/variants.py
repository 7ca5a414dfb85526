"""The variants of a flow: which settings each of them changes, and copies of the flow with these settings."""

import inspect
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from ..core.copying import Copier
from ..core.edited import rebind
from ..core.errors import SettingError, a_type, did_you_mean
from ..core.fingerprint import Fingerprints
from ..core.hooks import is_library_class
from ..core.kinds import BY_NAME
from ..core.node import BaseNode, kind_of, label
from ..core.settings import NOT_SETTINGS, check_setting, settable
from ..core.text import quoted
from ..core.traversal import last_name, path_part, survey, within
from ..engine.iteration import is_iterator
from ..journal.keys import CallKeys
from ..journal.wiring import nodes_by_path
from ..runs.run_plan import following
from ..runs.twins import copied_nodes, copied_shared

__all__ = ["Change", "Variant", "Variants", "find_node"]

_OF_ROWS = ("changed", "same_item", "score", "delta", "spread", "status", "seconds", "tokens", "cost")
"""The columns that a table has for each variant."""


class Change(NamedTuple):
    """One change of a flow.

    Attributes:
        path: The node.
        attribute: The name of its attribute; "" if the node is replaced.
        value: The new value, or the class or node in its place.
    """

    path: str
    attribute: str
    value: Any


class Variant(NamedTuple):
    """A variant of a flow.

    Attributes:
        name: Its name.
        settings: The changes as the user has written them.
        changes: Those that differ from the flow as it is; nodes that are replaced come first.
    """

    name: str
    settings: dict[str, Any]
    changes: list[Change]


class Variants:
    """The variants of one flow. The flow of the user and its nodes stay as they are.

    Attributes:
        known: The variants, in the order in which they were given.
        by_path: The nodes of the flow as it is.
    """

    def __init__(self, root: BaseNode, given: Mapping[str, Any]) -> None:
        """Read the variants, and check that each can be made.

        Raises:
            SettingError: There are not two of them, two are equal, or a change makes no sense.
            WiringError: The flow cannot run as it is wired.
        """
        if len(given) < 2:
            raise SettingError(
                "compare needs two variants or more, each a name and its changes: "
                'flow.compare(shared, old={}, new={"Label.prompt": "..."}). {} changes nothing.'
            )
        taken = {"item", *_OF_ROWS, *(f"{column}.{name}" for column in _OF_ROWS for name in given)}
        if "" in given:
            raise SettingError("a variant has the name ''; give each one a name.")
        for name in given.keys() & taken:
            raise SettingError(f"a variant cannot be called {quoted(name)}: another column of the table has this name.")
        self._root = copied_nodes(root, Copier())
        rebind(within(self._root))
        survey(self._root)
        self.by_path = nodes_by_path(self._root)
        self.known = [self._variant(name, settings) for name, settings in given.items()]
        self._refuse_equal_ones()

    def copies(self, variant: Variant, shared: Any, kept: str = "") -> tuple[BaseNode, Any]:
        """Return a copy of the flow with the changes of a variant, and a copy of ``shared``.

        Args:
            variant: The variant.
            shared: The object of the user.
            kept: The path of a batch whose items are kept, whatever its ``keep_items``; "" for none.

        Raises:
            SettingError: ``shared`` cannot be copied, or has an iterator.
        """
        for key, value in shared.items() if isinstance(shared, Mapping) else ():
            if is_iterator(value):
                raise SettingError(
                    f"shared[{quoted(key)}] is {a_type(value)}, which can be read only once, but each variant reads "
                    "it; pass a list."
                )
        copier = Copier()
        root = copied_nodes(self._root, copier)
        by_path = nodes_by_path(root)
        for change in variant.changes:
            _apply(change, by_path[change.path])
        if kept and "keep_items" in type(by_path[kept])._dialect.settings:
            by_path[kept].__dict__["keep_items"] = True
        return root, copied_shared(shared, copier, "the variants cannot have one each")

    def resampled(self) -> set[str]:
        """Return the paths of the nodes that each repeat calls again: those that a variant changes, and what follows.

        The nodes inside them are called again too.
        """
        found = {change.path for variant in self.known for change in variant.changes}
        for path in list(found):
            found.update(step for step, _ in following(self.by_path, path, is_within=False))
        return found

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the value of each setting in each variant: that of the flow if the variant does not change it.

        Of a node that is replaced, it is the name of the class.
        """
        found: dict[str, dict[str, Any]] = {}
        for what in dict.fromkeys(what for variant in self.known for what in variant.settings):
            path, attribute = self._where(what, "")
            node = self.by_path[path]
            of_flow = getattr(node, attribute, None) if attribute else node
            values = {variant.name: variant.settings.get(what, of_flow) for variant in self.known}
            found[what] = values if attribute else {name: _class_name(value) for name, value in values.items()}
        return found

    # ---- reading and checking ----------------------------------------------------------------------------------------

    def _variant(self, name: str, settings: Any) -> Variant:
        if not isinstance(settings, Mapping):
            raise SettingError(
                f"{quoted(name)} is not a variant: it is {a_type(settings)}; write a dict of changes, such as "
                '{"Label.prompt": "..."}.'
            )
        changes = [self._change(name, what, value) for what, value in settings.items()]
        replaced = {change.path: change for change in changes if not change.attribute}
        effective = [change for path, change in replaced.items() if change.value is not type(self.by_path[path])]
        for change in changes:
            if change.attribute:
                node = self.by_path[change.path]
                if change.path in replaced:
                    node = _replaced(node, replaced[change.path].value)
                checked = change._replace(value=_check_attribute(node, change))
                if not _is_same(vars(node).get(change.attribute, getattr(node, change.attribute)), checked.value):
                    effective.append(checked)
        return Variant(name, dict(settings), effective)

    def _change(self, variant: str, what: Any, value: Any) -> Change:
        """Return a change that a user has written as ``"Label.prompt": value`` or ``"Label": node``."""
        if not isinstance(what, str):
            raise SettingError(f"{variant}: {quoted(what)} is {a_type(what)}; write 'Label.prompt', or 'Label'.")
        path, attribute = self._where(what, f"{variant}: ")
        if not attribute:
            _check_replacement(self.by_path[path], path, value)
        return Change(path, attribute, value)

    def _where(self, what: str, where: str) -> tuple[str, str]:
        """Return the path of the node that a change is of, and the attribute; "" if the node is replaced."""
        node, _, attribute = what.rpartition(".")
        path = find_node(self.by_path, what, where, is_required=not node)  # a name may have a dot
        if path is not None:
            return path, ""
        path = find_node(self.by_path, node, where)
        assert path is not None
        return path, attribute

    def _refuse_equal_ones(self) -> None:
        """Refuse two variants that change the same."""
        for n, variant in enumerate(self.known):
            for other in self.known[:n]:
                if _are_equal(variant.changes, other.changes):
                    what = f"{quoted(other.name)} and {quoted(variant.name)} are the same"
                    as_is = "" if variant.changes else ": both change nothing"
                    raise SettingError(f"{what}{as_is}; there is nothing to compare.")


def find_node(by_path: Mapping[str, BaseNode], which: str, where: str, *, is_required: bool = True) -> str | None:
    """Return the path of the node that has a name or a path. If one node has several paths, return the first.

    Args:
        by_path: The nodes of a flow.
        which: The name or the path.
        where: What the error begins with.
        is_required: Whether it is an error if there is none.

    Raises:
        SettingError: There is no such node, or several have this name.
    """
    if which in by_path:
        return which
    found = [path for path in by_path if which in (last_name(path), path.replace(path_part("/"), "/"))]
    if len({id(by_path[path]) for path in found}) > 1:
        paths = quoted(found, 1_000, elements=20)
        raise SettingError(f"{where}several nodes have the name {quoted(which)}; give the path of one: {paths}")
    if found or not is_required:
        return next(iter(found), None)
    names = list(dict.fromkeys(map(last_name, by_path)))
    hint, has = did_you_mean(which, [*by_path, *names]), quoted(names, 1_000, elements=20)
    raise SettingError(f"{where}the flow has no node {quoted(which)}{hint}; it has {has}")


def _class_name(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def _check_attribute(node: BaseNode, change: Change) -> Any:
    """Return the value to set.

    Raises:
        SettingError: The node has no such attribute, it cannot be set on a node, or the value is not valid.
    """
    attribute, cls = change.attribute, type(node)
    where = f"{label(node)} ({cls.__name__})"
    if attribute in NOT_SETTINGS or attribute.startswith("__"):
        raise SettingError(f"{where}: {attribute} is set by the flow, so no variant can change it.")
    if attribute in cls._dialect.names():
        raise SettingError(
            f"{where}: {attribute} is a hook; to compare another hook, give another class or node: "
            f"{{{quoted(label(node))}: OtherClass}}."
        )
    if attribute not in vars(node):
        of_class = inspect.getattr_static(cls, attribute, None)
        if not hasattr(node, attribute):
            raise SettingError(
                f"{where} has no attribute {quoted(attribute)}{did_you_mean(attribute, settable(node))}."
            )
        if isinstance(of_class, FunctionType | classmethod | property) or hasattr(type(of_class), "__set__"):
            kind = "a method" if isinstance(of_class, FunctionType | classmethod) else "no plain attribute"
            raise SettingError(
                f"{where}: {attribute} is {kind}, so it cannot be set on a node; give another class or node: "
                f"{{{quoted(label(node))}: OtherClass}}."
            )
    return check_setting(node, attribute, change.value) if attribute in cls._dialect.settings else change.value


def _check_replacement(node: BaseNode, path: str, value: Any) -> None:
    """Refuse what cannot take the place of a node.

    Raises:
        SettingError: It is no class and no node, or the class cannot have the attributes of this node.
    """
    if not (hasattr(value, "_kind") if isinstance(value, type) else hasattr(type(value), "_kind")):
        raise SettingError(
            f"{path}: {a_type(value)} cannot replace a node; give a class or a node. To change an attribute, "
            f"write {{'{last_name(path)}.attribute': value}}."
        )
    if not isinstance(value, type):
        return
    if value._kind != kind_of(node):  # type: ignore[attr-defined]
        raise SettingError(f"{path} is a {kind_of(node)}, and {value.__name__} is another kind of node.")
    owner = next(cls for cls in value.__mro__ if "__init__" in vars(cls))
    if not (is_library_class(owner) or issubclass(type(node), owner)):
        raise SettingError(
            f"{path}: {value.__name__} has an __init__ of its own, which sets attributes that this node does not have; "
            f"give a node: {value.__name__}(...)."
        )


def _is_same(value: Any, other: Any) -> bool:
    """Return whether two values have the same content. Functions and classes are the same only if they are one."""
    if value is other:
        return True
    if isinstance(value, BY_NAME) or isinstance(other, BY_NAME):
        return False
    keys = CallKeys(Fingerprints())
    return keys.of_value(value) == keys.of_value(other)


def _are_equal(changes: Iterable[Change], others: Iterable[Change]) -> bool:
    mine, theirs = ({(path, name): value for path, name, value in each} for each in (changes, others))
    return mine.keys() == theirs.keys() and all(_is_same(value, theirs[key]) for key, value in mine.items())


# ---- making a variant ------------------------------------------------------------------------------------------------


def _apply(change: Change, node: BaseNode) -> None:
    """Make a change on a copy of the user's node."""
    if change.attribute:
        node.__dict__[change.attribute] = change.value
        return
    twin = _replaced(node, change.value)
    node.__dict__.clear()
    node.__dict__.update(vars(twin))
    node.__class__ = type(twin)


def _replaced(node: BaseNode, by: Any) -> BaseNode:
    """Return what takes the place of a node: it has the node's edges and its name, so its calls have the same path."""
    if isinstance(by, type):
        twin: Any = object.__new__(by)
        twin.__dict__.update(vars(node))
    else:
        twin = copied_nodes(by, Copier())
    twin.__dict__["successors"] = node.successors
    twin.__dict__.pop("last_run", None)
    if label(twin) != label(node):
        twin.__dict__["name"] = label(node)
    return twin  # type: ignore[no-any-return]
