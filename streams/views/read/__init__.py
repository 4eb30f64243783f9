"""Reading the tables: index, lists, timelines, rendering, and what has changed."""
