"""Mutations: mutmut's, without those that every test would notice, and what mutmut has none for."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

BOUNDS = {"gt": "gte", "gte": "gt", "lt": "lte", "lte": "lt"}
# Without these decorators, nothing works.
KEPT_DECORATORS = {"property", "cached_property", "classmethod", "staticmethod", "receiver"}
# Arguments that people read, and one that only guards against faults of the code itself.
SPARED_ARGUMENTS = {"help_text", "verbose_name", "verbose_name_plural", "strict"}
PASS = cst.SimpleStatementLine([cst.Pass()])


def remove_statement(node: cst.SimpleStatementLine) -> Iterator[cst.SimpleStatementLine]:
    """Replace a call, a return, a raise, or an assignment to a member by `pass`."""
    match node.body[0]:
        case cst.Expr(value=cst.Call()) | cst.Raise() | cst.Return(value=cst.BaseExpression()):
            yield PASS
        case cst.AugAssign() | cst.Del():
            yield PASS
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute() | cst.Subscript())]):
            yield PASS


def negate_condition(node: cst.If) -> Iterator[cst.If]:
    """Negate a condition; mutmut itself negates comparisons."""
    if not isinstance(node.test, cst.Comparison | cst.UnaryOperation):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def remove_element(
    node: cst.Tuple | cst.List | cst.Set | cst.Dict,
) -> Iterator[cst.BaseExpression]:
    """Remove each element of a display."""
    if len(node.elements) == 1 and isinstance(node, cst.Set):
        return  # {} would be a dict
    for index in range(len(node.elements)):
        rest = [*node.elements[:index], *node.elements[index + 1 :]]
        yield node.with_changes(elements=rest)


def remove_decorator(node: cst.FunctionDef) -> Iterator[cst.FunctionDef]:
    """Remove each decorator, such as `transaction.atomic`."""
    for decorator in node.decorators:
        name = decorator.decorator
        if not (isinstance(name, cst.Name) and name.value in KEPT_DECORATORS):
            rest = [other for other in node.decorators if other is not decorator]
            yield node.with_changes(decorators=rest)


def remove_keyword(node: cst.Call) -> Iterator[cst.Call]:
    """Remove each keyword argument of a call; without a positional one, most calls fail."""
    for index, argument in enumerate(node.args):
        keyword = argument.keyword and argument.keyword.value
        if argument.star or (keyword and keyword not in SPARED_ARGUMENTS):
            yield node.with_changes(args=[*node.args[:index], *node.args[index + 1 :]])


def change_string(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """Change a string once; mutmut also changes its case, which the same tests notice."""
    yield from islice(mutators.operator_string(node), 1)


def move_bound(node: cst.Name | cst.SimpleString) -> Iterator[cst.BaseExpression]:
    """Include or exclude the bound of a lookup, such as `pk__gt` or "gt"."""
    text = node.value.strip("\"'")
    start, separator, lookup = text.rpartition("__")
    if lookup in BOUNDS and (separator or isinstance(node, cst.SimpleString)):
        moved = f"{start}{separator}{BOUNDS[lookup]}"
        yield node.with_changes(value=node.value.replace(text, moved))


OPERATORS: list[tuple[Any, Any]] = [
    (cst.BaseNumber, mutators.operator_number),
    (cst.BaseString, change_string),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.Match, mutators.operator_match),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.SimpleStatementLine, remove_statement),
    (cst.If, negate_condition),
    (cst.Tuple | cst.List | cst.Set | cst.Dict, remove_element),
    (cst.FunctionDef, remove_decorator),
    (cst.Call, remove_keyword),
    (cst.Name | cst.SimpleString, move_bound),
]
