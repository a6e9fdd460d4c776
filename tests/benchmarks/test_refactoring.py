"""What `benchmarks/refactoring.py` counts in a source tree."""

from benchmarks.refactoring import Checkout, _source


def test_long_functions_imports_and_parameters_are_counted(tmp_path):
    (tmp_path / "src").mkdir()
    many = ", ".join(f"p{number}" for number in range(11))
    body = "    pass\n" * 50
    (tmp_path / "src" / "module.py").write_text(
        f"import os\n\ndef long():\n{body}\ndef wide({many}):\n    import sys\n\nclass A:\n    def f(self, a): ...\n"
    )
    assert _source(Checkout("one", tmp_path, tmp_path)) == {
        "lines": 59,
        "functions over 50 lines": 1,
        "imports inside functions": 1,
        "functions with over 10 parameters": 1,
    }
