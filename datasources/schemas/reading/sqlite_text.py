"""What SQLite keeps only in the text of a definition, such as the condition of an index."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|.""",
    re.DOTALL,
)
QUOTES = "\"'`"


class Token(NamedTuple):
    """A token of a definition; a parenthesis is as deep as what is around it."""

    text: str
    depth: int
    start: int
    end: int

    @property
    def word(self) -> str:
        """The token in upper case."""
        return self.text.upper()


def index_of(definition: str) -> tuple[list[str], str | None]:
    """Return the expressions of `CREATE INDEX`, without order and collation, and its condition."""
    tokens = tokens_of(definition)
    parts = [slice_of(definition, without_order(part)) for part in first_list(tokens)]
    where = next((token.end for token in tokens if token[1] == 0 and token.word == "WHERE"), None)
    return parts, definition[where:].strip() if where else None


def generated_columns(definition: str) -> dict[str, str]:
    """Return the expressions of the generated columns of `CREATE TABLE`, in parentheses."""
    found = {}
    for part in first_list(tokens_of(definition)):
        words = [token.word if token.depth == 1 else "" for token in part]
        if "AS" in words[1:]:
            start = words.index("AS", 1) + 1
            end = words.index(")", start) + 1
            found[unquoted(part[0].text)] = slice_of(definition, part[start:end])
    return found


def deferrable_keys(definition: str) -> list[str | None]:
    """Return `DEFERRABLE …` for each foreign key of `CREATE TABLE`, None for those without."""
    found: list[str | None] = []
    for part in first_list(tokens_of(definition)):
        words = [token.word for token in part if token.depth == 1]
        for word, *next_words in zip(words, words[1:] + [""], words[2:] + ["", ""], strict=False):
            if word == "REFERENCES":
                found.append(None)
            elif next_words[0] == "DEFERRABLE" and word != "NOT" and found:
                found[-1] = "DEFERRABLE"
            elif word == "INITIALLY" and found and found[-1]:
                found[-1] += f" INITIALLY {next_words[0]}"
    return found


def module_of(definition: str) -> str:
    """Return the module of `CREATE VIRTUAL TABLE`; only letters, digits and underscores."""
    tokens = tokens_of(definition)
    words = [token.word if token.depth == 0 else "" for token in tokens] + ["USING"]
    rest = tokens[words.index("USING") + 1 :]
    return re.sub(r"\W", "", unquoted(rest[0].text))[:50] if rest else ""


def has_word(definition: str, word: str) -> bool:
    """Return whether a definition has this word outside of names and literals."""
    return word in definition.upper() and any(token.word == word for token in tokens_of(definition))


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a definition, without white space and comments."""
    return [*_tokens(text)]


def _tokens(text: str) -> Iterator[Token]:
    depth = 0
    for found in TOKEN.finditer(text):
        if found["space"]:
            continue
        depth -= found[0] == ")"
        yield Token(found[0], depth, *found.span())
        depth += found[0] == "("


def first_list(tokens: Sequence[Token]) -> list[list[Token]]:
    """Return the parts of the first list in parentheses."""
    parts: list[list[Token]] = []
    for token in tokens:
        if token.depth == 0:
            if parts:
                break
            if token.text == "(":
                parts.append([])
        elif token.depth == 1 and token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def without_order(part: Sequence[Token]) -> Sequence[Token]:
    """Return an indexed expression without `COLLATE …`, `ASC` and `DESC` at its end."""
    if len(part) > 1 and part[-1].word in ("ASC", "DESC"):
        part = part[:-1]
    if len(part) > 2 and part[-2].word == "COLLATE" and part[-2].depth == 1:
        part = part[:-2]
    return part


def slice_of(definition: str, tokens: Sequence[Token]) -> str:
    """Return the text of consecutive tokens."""
    return definition[tokens[0].start : tokens[-1].end] if tokens else ""


def unquoted(name: str) -> str:
    """Return a name without its quotes."""
    if name[0] == "[":
        return name[1:-1]
    if name[0] in QUOTES:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name
