"""How rows merge: the newest value of a column, deletes, claims of writers; and what is stored of a contact. Pure.

The workers' join stores and derives by these rules; `bridge reconcile` and `bridge erase` read by them what it stored.
"""
