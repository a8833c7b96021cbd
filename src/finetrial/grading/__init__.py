"""How do people judge samples without knowing who wrote them? Blinding, the local page, events, bundles, imports."""
