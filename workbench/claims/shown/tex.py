"""TeX between dollar signs in a card's words: as plain text for terminals, as HTML for notebooks and reports.

A small converter rather than MathJax: reports run no scripts, and a statement must read alike everywhere. It knows Greek
letters, relations, sub- and superscripts, fractions and roots; what it does not know it leaves as it is written.
"""

from __future__ import annotations

import re
from html import escape

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_SYMBOLS = _GREEK | {
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "sim": "∼", "propto": "∝", "pm": "±",
    "times": "×", "cdot": "·", "to": "→", "rightarrow": "→", "infty": "∞", "int": "∫", "sum": "∑", "nabla": "∇", "partial": "∂",
    "in": "∈", "ldots": "…", "dots": "…", "cdots": "⋯", "ell": "ℓ", "ll": "≪", "gg": "≫", "langle": "⟨", "rangle": "⟩",
    "mid": "|", "lvert": "|", "rvert": "|", "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "quad": " ", ",": " ",
    ";": " ", "!": "", "{": "{", "}": "}", "%": "%", "star": "*", "ast": "*", "circ": "∘", "odot": "⊙", "mathbb{E}": "E",
    "otimes": "⊗", "top": "⊤", "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊", "rfloor": "⌋",
}  # fmt: skip
_DROPPED = {
    "left",
    "right",
    "mathrm",
    "mathbf",
    "mathcal",
    "mathbb",
    "text",
    "operatorname",
    "bigl",
    "bigr",
    "big",
    "boldsymbol",
}
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "widehat": "\u0302"}
_TOKEN = re.compile(r"\\([A-Za-z]+|.)|([{}^_])|([^\\{}^_])", re.DOTALL)


def plain(text: str) -> str:
    """`$\\rho^2 \\le 1/\\lambda_{max}$` as `ρ^2 ≤ 1/λ_max`; a text without dollar signs as it is."""
    return _replaced(text, html=False)


def html(text: str) -> str:
    """The same as HTML, everything escaped."""
    return _replaced(text, html=True)


def _replaced(text: str, html: bool) -> str:
    pieces = text.split("$")
    if len(pieces) % 2 == 0:  # a lone dollar is money
        return escape(text) if html else text
    return "".join(
        (_Reader(piece, html).all() if k % 2 else escape(piece) if html else piece) for k, piece in enumerate(pieces)
    )


class _Reader:
    """Reads one formula from left to right."""

    def __init__(self, text: str, html: bool):
        self.tokens = [found.groups() for found in _TOKEN.finditer(text)]
        self.html, self.place = html, 0

    def all(self) -> str:
        out = ""
        while self.place < len(self.tokens):
            out += self.one()
        return out.strip()

    def group(self) -> str:
        """The next argument: a group in braces or a single token."""
        while self.place < len(self.tokens) and self.tokens[self.place][2] == " ":
            self.place += 1
        if self.place < len(self.tokens) and self.tokens[self.place][1] == "{":
            self.place += 1
            out = ""
            while self.place < len(self.tokens) and self.tokens[self.place][1] != "}":
                out += self.one()
            self.place += 1
            return out
        return self.one() if self.place < len(self.tokens) else ""

    def one(self) -> str:
        command, mark, letter = self.tokens[self.place]
        self.place += 1
        if letter:
            shown = escape(letter) if self.html else letter
            return f"<i>{shown}</i>" if self.html and letter.isalpha() else shown
        if mark in ("^", "_"):
            inner = self.group()
            if self.html:
                tag = "sup" if mark == "^" else "sub"
                return f"<{tag}>{inner}</{tag}>"
            return mark + (inner if len(inner) == 1 or inner.replace(".", "").isalnum() else f"({inner})")
        if mark:
            return self._braced() if mark == "{" else ""
        return self.command(command)

    def _braced(self) -> str:
        self.place -= 1
        return self.group()

    def command(self, name: str) -> str:
        if name in ("frac", "tfrac", "dfrac"):
            top, bottom = self.group(), self.group()
            return f"{_bracketed(top)}/{_bracketed(bottom)}"
        if name == "sqrt":
            return f"√{_bracketed(self.group())}"
        if name in _ACCENTS:
            return self.group() + _ACCENTS[name]
        if name in _DROPPED:
            return ""
        if name in _SYMBOLS:
            return escape(_SYMBOLS[name]) if self.html else _SYMBOLS[name]
        return name  # \log, \max, \exp


def _bracketed(text: str) -> str:
    bare = re.sub(r"<[^>]*>", "", text)
    return text if re.fullmatch(r"\w*", bare) else f"({text})"
