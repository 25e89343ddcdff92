"""The numbers of the December 2025 note, microseconds: it names no GPU, and nothing of it was measured here."""

TOTALS = {4: {"before": 700.0, "after": 235.0}, 8: {"before": 1400.0, "after": 295.0}}  # a replay, by number of steps
SPEED_UPS = {4: 3.0, 8: 4.8}  # by the note's own rounding
COPY_SHARE = 0.1  # of the total
BATCHED = {4: 220.0, 8: 280.0}  # the same with batched copies
OPERATIONS = {  # of computing one step; the cumsum occurs twice
    "to(int32)": 5,
    "cumsum": 15,
    "table gather": 20,
    "clamp": 30,
    "page transform": 40,
    "cat/arange": 50,
}
SEVEN = {"copy": 28.70, "batched-each": 41.43, "batched": 19.38}  # seven small copies, by form
