"""python3 -m wordcount [--top N] < TEXT"""

from __future__ import annotations

import argparse
import sys

from wordcount import count


def main() -> None:
    parser = argparse.ArgumentParser(prog="wordcount")
    parser.add_argument("--top", type=int, default=10)
    arguments = parser.parse_args()
    for word, times in count(sys.stdin.read()).most_common(arguments.top):
        print(f"{times:7} {word}")


main()
