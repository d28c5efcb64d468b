"""Event sourcing: what an event is, how it is read and written, and how events are folded into states."""
