"""What a user does in JupyterLab, as functions of a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONSOLE_NOISE = ("favicon",)


class Lab:
    """One tab of JupyterLab; `complaints` collects errors of the page and its console."""

    def __init__(self, context: Any, server: tuple[str, str]) -> None:
        self.address, self.token = server
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        self.page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not any(word in message.text for word in CONSOLE_NOISE):
            self.complaints.append(f"console: {message.text}")

    def open(self, path: str) -> None:
        """Open a page of the server and wait until its notebook's kernel is connected."""
        mark = "&" if "?" in path else "?"
        # Without a reset the notebooks of earlier pages come back as tabs, in any order.
        reset = "reset&" if path.startswith("/lab/tree/") else ""
        self.page.goto(f"{self.address}{path}{mark}{reset}token={self.token}")
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
        # The toolbar says idle before the kernel is connected; the status bar does not.
        self.page.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/")

    def run_all(self) -> None:
        """Clear what was committed, Run ▸ Run All Cells, and wait until every code cell has its number."""
        for menu, entry in (("Edit", "Clear Outputs of All Cells"), ("Run", "Run All Cells")):
            self.page.click(f".lm-MenuBar-itemLabel >> text=/^{menu}$/")
            self.page.click(f".lm-Menu-itemLabel >> text=/^{entry}$/")
        self.page.wait_for_function(
            """() => {
                const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
                const prompts = [...panel.querySelectorAll('.jp-CodeCell .jp-InputPrompt:not(.jp-Placeholder-prompt)')]
                    .filter(p => p.offsetParent !== null).map(p => p.textContent);
                const busy = document.querySelector('#jp-main-statusbar').textContent.includes('Busy');
                return !busy && prompts.length && prompts.every(text => /\\[\\d+\\]/.test(text));
            }"""
        )

    def explorer(self, index: int = 0) -> Any:
        """An explorer of the open notebook, scrolled into view."""
        found = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .workbench-explorer").nth(index)
        found.wait_for()
        found.scroll_into_view_if_needed()
        found.locator("img").wait_for()
        return found

    def picture(self, index: int = 0) -> str:
        """The pixels of an explorer's picture, as the browser decoded them."""
        image = self.explorer(index).locator("img")
        return image.evaluate(
            """async image => {
                await image.decode();
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                canvas.getContext('2d').drawImage(image, 0, 0);
                return canvas.toDataURL();
            }"""
        )

    def wait_for_picture(self, wanted: Callable[[str], bool], index: int = 0, seconds: float = 30) -> None:
        """Wait until an explorer's pixels are as wanted."""
        for _ in range(int(seconds / 0.1)):
            if wanted(self.picture(index)):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"the picture was not as wanted within {seconds:g} s")

    def close(self) -> None:
        self.page.close()
