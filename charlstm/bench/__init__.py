"""How fast this package is here and now, each figure beside the way others do the same, measured in the same run."""
