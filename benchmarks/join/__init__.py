"""The benchmark of the join: what is put in, who competes, and how it is judged."""
