"""A first look at a captured set, as rows of a table: what each array says of a request, whose slots a row holds."""

from collections.abc import Mapping

import torch

from ... import NSAConfig, NSAMetadata

TELLS = {
    "cache_seqlens_int32": "how many tokens it has",
    "nsa_cache_seqlens_int32": "how many of them attention may look at: at most k",
    "cu_seqlens_k": "where it begins and ends in the batch",
    "page_table_1": "the slots of its tokens",
    "real_page_table": "the same, by page",
}


def says(captured: NSAMetadata, config: NSAConfig, names: str) -> list[dict[str, str]]:
    """A row for each array, a column for each request, in the order of the batch: "AB"."""
    return [
        {
            "array": array,
            **{f"request {name}": _of_row(captured, config, array, row) for row, name in enumerate(names)},
            "what it tells the kernel": words,
        }
        for array, words in TELLS.items()
    ]


def _of_row(captured: NSAMetadata, config: NSAConfig, array: str, row: int) -> str:
    values, lengths = getattr(captured, array), captured.cache_seqlens_int32
    if array == "cu_seqlens_k":
        return f"{values[row]} to {values[row + 1]}"
    if values.dim() == 1:
        return f"{values[row]}"
    page = config.page_size if array == "real_page_table" else 1
    live, written = (-(-int(tokens) // page) for tokens in (lengths[row], lengths.max()))
    bar = ["\u2502"] if live < written else []
    return _in_one_line([*values[row, :live].tolist(), *bar, *values[row, live:written].tolist()])


def reads(
    captured: NSAMetadata, req_to_token: torch.Tensor, pool_rows: Mapping[str, int]
) -> list[dict[str, int | str]]:
    """What a row of `page_table_1` holds, and whose it is. pool_rows: the batch in order, {"B": 2, "A": 1}."""
    rows = []
    for row, (name, pool_row) in enumerate(pool_rows.items()):
        tokens = int(captured.cache_seqlens_int32[row])
        should, found = req_to_token[pool_row, :tokens].tolist(), captured.page_table_1[row, :tokens].tolist()
        owners = dict.fromkeys(_owner(slot, req_to_token, pool_rows) for slot in found)
        cells = {"its row should hold": _in_one_line(should), "it holds": _in_one_line(found)}
        rows.append({"row": row, "request": name, "tokens": tokens, **cells, "these slots are": " and ".join(owners)})
    return rows


def _owner(slot: int, req_to_token: torch.Tensor, pool_rows: Mapping[str, int]) -> str:
    return next((f"{name}'s" for name, row in pool_rows.items() if slot in req_to_token[row]), "nobody's")


def _in_one_line(cells: list[object]) -> str:
    return "\u00a0".join(map(str, cells))
