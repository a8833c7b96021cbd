"""The checks of `finetrial verify`, one subject a module; `reporting.verification` asks them all."""
