"""The rules, as pure functions: what is kept of each event (facts), how facts join, and what follows from them.

Joins are idempotent, commutative and associative, so the facts are a function of the set of events (docs/design.md,
G2). Nothing here knows of Faust, Kafka or a clock.
"""
