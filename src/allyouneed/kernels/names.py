"""Full names of all kernels by purpose. Those of a tuple share functions, which Numba reads once for a process."""

from __future__ import annotations

_ENGINE = "allyouneed.translation.engine"
SEARCH = (f"{_ENGINE}.greedy.greedy", f"{_ENGINE}.greedy.step")
VERIFICATION = f"{_ENGINE}.verification.search_drafted"
BEAM = (f"{_ENGINE}.beam.search_beam",)
STEP = tuple(f"allyouneed.kernels.{name}" for name in ("attention._attend", "attention_backward._attend_backward"))
DROPOUT = tuple(f"allyouneed.kernels.dropout.{name}" for name in ("_drop", "_drop_onto"))
LOSS = tuple(f"allyouneed.kernels.loss.{name}" for name in ("_lay_out", "_token_loss"))
PRODUCTS = tuple(f"allyouneed.kernels.matmul.{name}" for name in ("_lay_out", "_lay_out_transposed", "_multiply"))
BF16_PRODUCTS = tuple(f"{name}_bf16" for name in PRODUCTS)  # not for every processor
AMX_PRODUCTS = (
    *(
        f"allyouneed.kernels.matmul_amx.{name}"
        for name in ("_round_rows", "_round_row_lines", "_round_columns", "_round_column_lines", "_multiply")
    ),
    "allyouneed.kernels.loss_amx._token_loss",
)
ENCODER = (f"{_ENGINE}.encoder.encode", "allyouneed.kernels.product._multiply")
ALL = ((*ENCODER, *SEARCH, VERIFICATION), (*BEAM, *DROPOUT, *STEP, *LOSS, *PRODUCTS))
# Groups of training kernels.
ATTENTION, OTHER_STEPS, FP32, BF16, AMX = "attention", "loss", "fp32-products", "bf16-products", "amx-products"
GROUPS = {ATTENTION: STEP, OTHER_STEPS: (*DROPOUT, *LOSS), FP32: PRODUCTS, BF16: BF16_PRODUCTS, AMX: AMX_PRODUCTS}
