"""Reproduction of the paper's tables and figures at a chosen scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.paper.figures.attention_figures import run_figures
    from allyouneed.paper.questions.experiments import run_questions
    from allyouneed.paper.table1.measurements import run_table1
    from allyouneed.paper.table2 import run_table2
    from allyouneed.paper.table3.ablations import run_table3
    from allyouneed.paper.table4.parsing import run_table4

__all__ = ["run_figures", "run_questions", "run_table1", "run_table2", "run_table3", "run_table4"]

_MODULES = {
    "run_figures": "allyouneed.paper.figures.attention_figures",
    "run_questions": "allyouneed.paper.questions.experiments",
    "run_table1": "allyouneed.paper.table1.measurements",
    "run_table2": "allyouneed.paper.table2",
    "run_table3": "allyouneed.paper.table3.ablations",
    "run_table4": "allyouneed.paper.table4.parsing",
}

__getattr__ = lazy.attach(__name__, _MODULES)
