"""The frame around every explorer: controls on the left, one picture that is redrawn in place, a line of read-outs.

An explorer supplies its controls and what it shows, as a `Scene` or simply as a function `draw(figure, **values)`; the frame
does the rest. Every explorer has one figure of its own, never through pyplot, that is sent as PNG to one image widget:
nothing piles up however often one moves.
"""

from __future__ import annotations

import asyncio
import html
import math
import os
import re
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
from threadpoolctl import ThreadpoolController

from workbench.claims import card
from workbench.claims.errors import CardError
from workbench.explorers.scene import Draw, Painter, Redrawn, Scene

DEBOUNCE = 0.05
"""Seconds of quiet before redrawing: holding an arrow key redraws once."""
BUSY_AFTER = 0.2
"""Seconds a redraw may take before it announces itself."""
# Threads that wait for each other take longer than an explorer's small matrices do.
_MATRICES = ThreadpoolController()


@dataclass(frozen=True)
class Control:
    """One parameter of an explorer.

    kind "float" and "int" are sliders, "log" a slider in powers of ten with `low` and `high` given as values, "choice" a
    drop-down of `choices`. `meaning` becomes the tooltip.
    """

    name: str
    label: str
    value: Any
    low: float = 0.0
    high: float = 1.0
    step: float | None = None
    kind: Literal["float", "log", "int", "choice"] = "float"
    unit: str = ""
    choices: Sequence[Any] = ()
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.kind == "log" and self.low <= 0:
            raise ValueError(f"{self.name} is logarithmic, so its low end must be > 0, got {self.low!r}")
        self.checked(self.value)

    def checked(self, value: Any) -> Any:
        """The value as its widget takes it.

        Raises:
            ValueError: a value outside the range or the choices, no number, or no whole one where an int is needed.
        """
        if self.kind == "choice":
            for choice in self.choices:
                if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                    return choice
            raise ValueError(f"{self.name} must be one of {list(self.choices)}, got {value!r}")
        kind = "an int" if self.kind == "int" else "a number"
        number = not isinstance(value, bool) and isinstance(value, Integral if self.kind == "int" else Real)
        # A logarithmic slider's ends are powers of ten of rounded logarithms, a little off the ends asked for.
        low, high = self.low - 1e-9 * abs(self.low), self.high + 1e-9 * abs(self.high)
        entry = float(value) if number else math.nan
        if not low <= entry <= high:
            raise ValueError(f"{self.name} must be {kind} between {self.low:g} and {self.high:g}, got {value!r}")
        return int(entry) if self.kind == "int" else min(max(entry, self.low), self.high)

    def widget(self) -> Any:
        """The ipywidgets control, keyboard operable, that reports its value on release only."""
        label = f"{self.label} [{self.unit}]" if self.unit else self.label
        common: dict[str, Any] = {
            "description": label,
            "tooltip": self.meaning or label,
            "style": {"description_width": "11em"},
            "layout": widgets.Layout(width="28em"),
        }
        if self.kind == "choice":
            return widgets.Dropdown(options=list(self.choices), value=self.value, **common)
        common["continuous_update"] = False
        if self.kind == "int":
            return widgets.IntSlider(
                value=self.value, min=int(self.low), max=int(self.high), step=max(1, round(self.step or 1)), **common
            )
        if self.kind == "log":
            low, high = math.log10(self.low), math.log10(self.high)
            step = self.step or (high - low) / 100
            return widgets.FloatLogSlider(
                value=self.value, min=low, max=high, step=step, readout_format=".3g", **common
            )
        step = self.step or (self.high - self.low) / 100
        return widgets.FloatSlider(
            value=self.value, min=self.low, max=self.high, step=step, readout_format=".3g", **common
        )


class Explorer(widgets.VBox):
    """Controls and picture. `values` are the current parameters; `redraw()` draws at once.

    `show` is a class of scenes, made on the explorer's figure, or a function `draw(figure, **values)` that draws all anew.
    `paper` is the slug of the paper whose card has some of the controls as parameters: buttons then show the command that
    reruns the paper with them, and write a copy of its notebook with them. The other controls stand below, as view only.
    """

    def __init__(
        self,
        title: str,
        controls: Sequence[Control],
        show: type[Scene] | Draw,
        size: tuple[float, float] = (9.0, 4.2),
        paper: str = "",
    ) -> None:
        self.title, self._paper = title, paper
        self._painter = Painter(show if isinstance(show, type) else lambda figure: Redrawn(figure, show), size)
        self.controls = {control.name: control for control in controls}
        self.shared = [name for name in self.controls if name in _parameters(paper)]
        self._widgets = {control.name: control.widget() for control in controls}
        self._picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", align_self="flex-start"))
        self._readout, self._busy = widgets.HTML(), widgets.HTML("&nbsp;")
        self._copied = widgets.Text(layout=widgets.Layout(width="52em", display="none"))
        self._pending: asyncio.TimerHandle | None = None
        self._held = False
        self.redraws = 0
        self.failed = False
        """Whether the current values gave no picture."""
        fitting = widgets.Layout(width="auto")
        reset = widgets.Button(description="Reset", tooltip="Back to the values at the start", layout=fitting)
        copy = widgets.Button(
            description="Copy as a command", tooltip="Show the command that reruns the paper with these", layout=fitting
        )
        reset.on_click(lambda _: self.reset())
        copy.on_click(lambda _: self._show_command())
        for widget in self._widgets.values():
            widget.observe(lambda _: self._changed(), names="value")
        copying = widgets.Button(
            description="Open as a notebook", tooltip="Write a copy of the paper's notebook with these", layout=fitting
        )
        copying.on_click(lambda _: self._show_notebook())
        buttons = widgets.HBox([reset, *([copy, copying] if self.shared else []), self._busy])
        heading = widgets.HTML(f"<b>{html.escape(title)}</b>")
        super().__init__([heading, *self._panels(), buttons, self._copied, self._readout, self._picture])
        self.add_class("workbench-explorer")
        self.redraw()

    @property
    def values(self) -> dict[str, Any]:
        """The current parameters by name."""
        return {name: widget.value for name, widget in self._widgets.items()}

    @property
    def readout(self) -> str:
        """The line of text below the controls."""
        return html.unescape(re.sub("<[^>]*>", "", self._readout.value))

    @property
    def picture(self) -> bytes:
        """The picture shown, as PNG."""
        return bytes(self._picture.value)

    def set(self, **values: Any) -> None:
        """Move several controls and redraw once; where one value is refused, none moves.

        Raises:
            ValueError: an unknown name, or a value out of its control's range.
        """
        unknown = [name for name in values if name not in self._widgets]
        if unknown:
            raise ValueError(f"unknown parameter {', '.join(unknown)}; this explorer has {', '.join(self._widgets)}")
        checked = {name: self.controls[name].checked(value) for name, value in values.items()}
        self._held = True
        try:
            for name, value in checked.items():
                self._widgets[name].value = value
        finally:
            self._held = False
        self.redraw()

    def reset(self) -> None:
        """Back to the values at the start."""
        self.set(**{name: control.value for name, control in self.controls.items()})

    def command(self) -> str:
        """The command that reruns the paper with the values of those controls that are parameters of its card."""
        values = {name: self.values[name] for name in self.shared}
        words = {name: f"{value:.12g}" if isinstance(value, float) else str(value) for name, value in values.items()}
        return " ".join(
            ["workbench run", self._paper, *(f"-p {shlex.quote(f'{name}={words[name]}')}" for name in words)]
        )

    def notebook(self) -> Path:
        """Writes a copy of the paper's notebook into scratch/, with the values of the controls that its card knows.

        Raises:
            ValueError: where the paper has no notebook here.
        """
        from workbench.batch import papers

        target = papers.free_name(papers.root() / "scratch", self._paper)
        return papers.scratch_copy(self._paper, target, {name: self.values[name] for name in self.shared})

    def redraw(self) -> None:
        """Draw the current values. An error becomes a message in place of the read-out; the last picture stays."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        busy = threading.Timer(BUSY_AFTER, lambda: setattr(self._busy, "value", "computing …"))
        busy.daemon = True
        busy.start()
        try:
            with _MATRICES.limit(limits=1, user_api="blas"):
                text = self._painter.scene.update(**self.values)
                self._picture.value = self._painter.paint()
            self._readout.value = html.escape(text or "")
            self.failed = False
        except Exception as error:  # whatever a draw function runs into is for the reader to see, not for the kernel
            self.failed = True
            problem = html.escape(str(error) or type(error).__name__)
            self._readout.value = f"<b>✘ These values give no picture:</b> {problem}"
        finally:
            # Also after an interrupt, which goes on to whoever asked for the picture.
            busy.cancel()
            busy.join()
            self._busy.value = "&nbsp;"
        if self._copied.layout.display is None and self._copied.value.startswith("workbench "):
            self._copied.value = self.command()
        self.redraws += 1

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if _interactive():
            return super()._repr_mimebundle_(**options)
        # A saved widget without its kernel is an error message in JupyterLab and nothing at all in a static page.
        labels = ", ".join(control.label for control in self.controls.values())
        words = f"{self.title}: run this cell in JupyterLab to move {labels}."
        return {"text/plain": words, "text/html": f"<i>{html.escape(words)}</i>"}

    def _panels(self) -> list[widgets.Widget]:
        """The card's parameters, and below them, so called, what only changes the view."""
        wrapped = widgets.Layout(flex_flow="row wrap", align_items="center")
        viewed = [name for name in self._widgets if name not in self.shared]
        groups = [group for group in (self.shared, viewed) if group]
        panels: list[widgets.Widget] = [
            widgets.Box([self._widgets[name] for name in group], layout=wrapped) for group in groups
        ]
        if self.shared and viewed:
            panels.insert(1, widgets.HTML("View only, no parameters of the paper's notebook:"))
        return panels

    def _show_notebook(self) -> None:
        try:
            self._copied.value = f"written: {self.notebook()}"
        except (ValueError, OSError) as problem:
            self._copied.value = str(problem)
        self._copied.layout.display = None

    def _show_command(self) -> None:
        self._copied.value = self.command()
        self._copied.layout.display = None

    def _changed(self) -> None:
        if self._held:
            return
        if self._pending is not None:
            self._pending.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.redraw()
            return
        self._pending = loop.call_later(DEBOUNCE, self.redraw)


def _parameters(paper: str) -> set[str]:
    """Names of the parameters in the paper's card; none where there is no such card here, and so nothing to rerun."""
    try:
        return set(card(paper).parameter_specs) if paper else set()
    except CardError:
        return set()


def _interactive() -> bool:
    """Whether a front end that shows widgets started this kernel; nbconvert, papermill and tests don't."""
    return any(name.startswith(("JPY_SESSION_NAME", "VSCODE_", "COLAB_")) for name in os.environ)
