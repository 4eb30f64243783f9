"""Reading the tables: index, lists, timelines, rendering."""
