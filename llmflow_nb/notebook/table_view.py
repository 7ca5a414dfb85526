"""The widget of a batch: shows a page of its rows, and opens one of them.

All state is in the kernel: the front end asks for a page of rows, sorted and filtered here, and draws it. So the size
of the batch makes no difference.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import traitlets

from ..core.text import error_text
from ..runs.batch import BatchResult
from ..stepper.debug import stepper_at
from ..stepper.stepper import Stepper
from . import table_state as state
from .values import ValueTexts
from .view import Places, View, script, style

__all__ = ["TableView"]

MAX_SEARCH = 200


class TableView(View):
    """Shows one batch, wherever it is displayed."""

    _esm = script("table", "table.js")
    _css = style("table")

    page: Any = traitlets.Dict().tag(sync=True)
    opened: Any = traitlets.Dict().tag(sync=True)
    """The row that is opened; empty if none is."""
    status: Any = traitlets.Dict({"answers": 0, "message": ""}).tag(sync=True)

    def __init__(self, result: BatchResult, show_stepper: Callable[[Stepper, Places], object]) -> None:
        """Show a batch.

        Args:
            result: The batch.
            show_stepper: Shows a stepper in two outputs.
        """
        super().__init__()
        self._result, self._show_stepper = result, show_stepper
        self.places: Places | None = None
        """The outputs below the widget; None if the front end has none."""
        self._row: int | None = None  # the one that is opened
        self._query: state.Query = {"sort": "", "down": False, "statuses": [], "search": "", "number": 0}
        self.refresh()
        self.on_msg(self._on_request)

    def refresh(self) -> None:
        """Send what is shown, as of now."""
        self.page = state.page(self._result, self._query, ValueTexts())
        self._query = self.page["query"]
        self._show_opened()

    def _on_request(self, _: Any, content: Any, buffers: Any) -> None:
        """Receive a request of the front end."""
        request = self._REQUESTS.get(str(content.get("do"))) if isinstance(content, dict) else None
        if request is None:
            return
        try:
            message = request(self, content) or ""
        except Exception as exc:  # whatever was asked for: the widget reports it and stays usable
            message = error_text(exc, 600)
        self.status = {"answers": self.status["answers"] + 1, "message": message}

    def _show_page(self, content: dict[str, Any]) -> None:
        """Show other rows. Omitted options stay as they are; a new choice of rows begins at the first page."""
        asked: state.Query = {name: kind(content[name]) for name, kind in self._QUERY.items() if name in content}
        self._query = self._query | {"number": 0} | asked
        self._query["search"] = self._query["search"][:MAX_SEARCH]
        self.refresh()

    def _show_opened(self) -> None:
        row = self._row
        self.opened = {} if row is None else state.opened(self._result, row, ValueTexts())

    def _open(self, content: dict[str, Any]) -> None:
        row = int(content["row"])
        self._result[row]  # raises if there is none
        self._row = row
        self._show_opened()

    def _close(self, content: dict[str, Any]) -> None:
        self._row = None
        self._show_opened()

    def _debug(self, content: dict[str, Any]) -> str:
        """Open a stepper at a row, below the table."""
        row = int(content["row"])
        if self.places is None:
            return "here a stepper can be opened only by a cell with .debug(row)"
        self._show_stepper(stepper_at(self._result, row), self.places)
        return f"a stepper at row {state.label_of(self._result, row, ValueTexts())} is open below the table"

    def _send_whole(self, content: dict[str, Any]) -> None:
        """Send the whole text of a value of the row that is opened."""
        name = str(content["id"])
        if self._row is not None:
            self.send({"whole": name, "text": state.whole_text(self._result, self._row, name, ValueTexts())})

    _QUERY: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "sort": str,
        "down": bool,
        "statuses": list,
        "search": str,
        "number": int,
    }
    _REQUESTS: ClassVar[dict[str, Callable[..., str | None]]] = {
        "page": _show_page,
        "open": _open,
        "close": _close,
        "debug": _debug,
        "whole": _send_whole,
    }
