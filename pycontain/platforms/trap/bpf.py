"""The seccomp filter, compiled from rules by call number to classic BPF.

Classic BPF as seccomp(2) has it: an instruction is {u16 code, u8 jt, u8 jf, u32 k}; it reads
struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LD, JEQ, JGE, JSET, JA, AND, RET = 0x20, 0x15, 0x35, 0x45, 0x05, 0x54, 0x06
RET_ALLOW = 0x7FFF0000
RET_TRACE = 0x7FF00000
RET_NOTIFY = 0x7FC00000
RET_ERRNO = 0x00050000
RET_KILL = 0x80000000
ENOSYS = 38
MAX_INSTRUCTIONS = 4096

Code = list[tuple[int, int, int, int]]


class Test(NamedTuple):
    """If the low 32 bits of an argument match, the action; bits: any of the bits, between: not below the first of two
    values and below the second, else equality with any value. mask: the bits that are compared."""

    argument: int
    values: Sequence[int]
    action: int
    bits: bool = False
    wide: bool = False  # also look at the high half: the whole word must be zero (values = (0,))
    mask: int = 0xFFFFFFFF
    between: bool = False


class Rule(NamedTuple):
    """Tests in order, then the default action."""

    default: int
    tests: tuple[Test, ...] = ()

    def action(self, arguments: Sequence[int]) -> int:
        """What the filter does with a call of these arguments."""
        for test in self.tests:
            value = arguments[test.argument]
            low = value & 0xFFFFFFFF
            if test.wide:
                matches = value == 0
            elif test.bits:
                matches = any(low & bits for bits in test.values)
            elif test.between:
                matches = test.values[0] <= low < test.values[1]
            else:
                matches = any(low & test.mask == each & 0xFFFFFFFF for each in test.values)
            if matches:
                return test.action
        return self.default


ALLOW = Rule(RET_ALLOW)
NOTIFY = Rule(RET_NOTIFY)


def errno_rule(code: int) -> Rule:
    return Rule(RET_ERRNO | code)


def _rule_code(rule: Rule) -> Code:
    code: Code = []
    for test in rule.tests:
        low = 16 + 8 * test.argument
        if test.wide:  # equal to zero in all 64 bits
            code += [
                (LD, 0, 0, low),
                (JEQ, 0, 3, 0),
                (LD, 0, 0, low + 4),
                (JEQ, 0, 1, 0),
                (RET, 0, 0, test.action),
            ]
            continue
        code.append((LD, 0, 0, low))
        if test.mask != 0xFFFFFFFF:
            code.append((AND, 0, 0, test.mask))
        if test.between:
            first, end = test.values
            code += [(JGE, 0, 2, first), (JGE, 1, 0, end), (RET, 0, 0, test.action)]
            continue
        for value in test.values:
            code += [(JSET if test.bits else JEQ, 0, 1, value & 0xFFFFFFFF), (RET, 0, 0, test.action)]
    code.append((RET, 0, 0, rule.default))
    return code


def _search(ranges: Sequence[tuple[int, Rule]]) -> Code:
    """A binary search over ranges (first number, rule), each up to the next one's first number."""
    if len(ranges) == 1:
        return _rule_code(ranges[0][1])
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    if len(low) <= 255:
        return [(JGE, len(low), 0, ranges[middle][0]), *low, *high]
    return [(JGE, 0, 1, ranges[middle][0]), (JA, 0, 0, len(low)), *low, *high]


def compile_filter(rules: Mapping[int, Rule], default: Rule, arch: int, foreign_bit: int) -> bytes:
    """The program as an array of struct sock_filter.

    Calls of another architecture (int 0x80), and numbers with foreign_bit (x32), answer ENOSYS.
    """
    ranges: list[tuple[int, Rule]] = [(0, rules.get(0, default))]
    for number in range(1, max(rules) + 2):
        rule = rules.get(number, default)
        if rule != ranges[-1][1]:
            ranges.append((number, rule))
    ranges.append((foreign_bit, errno_rule(ENOSYS)))
    refuse = (RET, 0, 0, RET_ERRNO | ENOSYS)
    code: Code = [(LD, 0, 0, 4), (JEQ, 1, 0, arch), refuse, (LD, 0, 0, 0), *_search(ranges)]
    assert len(code) <= MAX_INSTRUCTIONS
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
