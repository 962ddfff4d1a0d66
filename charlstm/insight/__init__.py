"""What a network has learned: its states, units with a meaning, what holding them does, and why a letter is likely."""
