"""Held units, as generation knows them."""

from charlstm.generation.holds import Hold, format_holds, held_cells, parse_holds

__all__ = ["Hold", "format_holds", "held_cells", "parse_holds"]
