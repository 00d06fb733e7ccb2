"""Python source, with the C or CUDA inside its strings, as escaped HTML with a few classes.

The source is untrusted: every character goes through ``escape``, and no pattern backtracks over the whole text.
"""

from __future__ import annotations

import keyword
import re

from markupsafe import Markup, escape

_PYTHON = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|(?P<string>[rRbBfFuU]{0,2}(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<decorator>(?m:^)[ \t]*@[\w.]+)"
    r"|(?P<number>\b(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?)\b)"
    rf"|(?P<keyword>\b(?:{'|'.join(keyword.kwlist)})\b)"
)
_C_KEYWORDS = (
    "alignas auto bool break case char class const constexpr continue default do double else enum extern float for if "
    "inline int int16_t int32_t int64_t int8_t long namespace return short signed sizeof static static_cast struct "
    "switch template typename uint16_t uint32_t uint64_t uint8_t unsigned using void while __device__ __global__ "
    "__restrict__ __shared__"
)
_C = re.compile(
    r"(?P<comment>//[^\n]*|/\*[\s\S]*?\*/)"
    r"|(?P<decorator>\#[^\n]*)"
    r"|(?P<string>\"(?:\\.|[^\"\\\n])*\")"
    r"|(?P<number>\b(?:0[xX][\da-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)[uUlLfF]*\b)"
    rf"|(?P<keyword>\b(?:{'|'.join(_C_KEYWORDS.split())})\b)"
)
_CLASSES = {"comment": "hc", "string": "hs", "decorator": "hd", "number": "hn", "keyword": "hk"}
_NATIVE = re.compile(r'extern\s+"C"|__global__')
LONGEST = 400_000


def highlight(source: str) -> Markup:
    """``source`` as HTML for a ``<pre>``; sources over 400,000 characters are only escaped."""
    if len(source) > LONGEST:
        return escape(source)
    return _marked(source, _PYTHON)


def _marked(source: str, pattern: re.Pattern[str]) -> Markup:
    pieces: list[Markup] = []
    end = 0
    for match in pattern.finditer(source):
        pieces.append(escape(source[end : match.start()]))
        kind, text = str(match.lastgroup), match.group()
        if kind == "string" and _NATIVE.search(text):
            pieces.append(_marked(text, _C))
        else:
            pieces.append(Markup('<span class="{}">{}</span>').format(_CLASSES[kind], text))
        end = match.end()
    pieces.append(escape(source[end:]))
    return Markup("").join(pieces)
