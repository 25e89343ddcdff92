"""See what a replay does: observe captured sets, draw them, move them with widgets (extra `notebooks`).

`setup` and `observe` need torch only, `draw` needs matplotlib, `widgets` needs ipywidgets; import what you use.
From a shell: `python -m nsa_core.explore --mode decode --out picture.png`.
"""
