"""The rules, as pure functions: what is stored of each event (facts), how facts join, and what is derived from them.

Joins are idempotent, commutative and associative, so the facts are a function of the set of events (docs/design.md,
G2). Nothing here depends on Faust, Kafka or a clock. What `bridge` needs of it as well is in `openbsp.merge`.
"""
