"""One renderer for each form of a report; every one handles every type of block."""
