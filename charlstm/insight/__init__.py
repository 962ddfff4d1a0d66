"""What a trained network keeps in mind: states, named units, held units, and the worth of earlier characters."""
