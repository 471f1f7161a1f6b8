"""Run by the build."""

from __future__ import annotations

import unittest

from wordcount import count


class CountTest(unittest.TestCase):
    def test_case_does_not_matter(self) -> None:
        self.assertEqual(count("To be or not to be"), {"to": 2, "be": 2, "or": 1, "not": 1})

    def test_nothing(self) -> None:
        self.assertEqual(count(""), {})


if __name__ == "__main__":
    unittest.main()
