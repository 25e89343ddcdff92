"""The numbers of the December 2025 note and of its code on an H200, microseconds: neither was measured here."""

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
COMPUTE = sum(OPERATIONS.values()) + OPERATIONS["cumsum"]  # the whole of it: 175
SEVEN = {"copy": 28.70, "batched-each": 41.43, "batched": 19.38}  # seven small copies, by form

# The code that the note describes, read in November 2026: not by this project's bench, only to compare with.
ORIGINAL = {
    4: {"before": 833.8, "after": 471.3, "compute": 201.1, "copies": 267.8, "batched": 605.9},
    8: {"before": 1992.3, "after": 692.4, "compute": 147.0, "copies": 517.2, "batched": 1038.1},
}
ORIGINAL_LAUNCH = 18.4  # one launch for all steps by the same reading: a prototype of it, 4 steps
ORIGINAL_CONDITIONS = (
    "read outside this project: NVIDIA H200, torch 2.11.0+cu130, triton 3.6.0, 2026-11-22; bs 32, "
    "4096 tokens, page 64, loop time"
)
