"""How do people judge samples without knowing who wrote them? Blinding, the page, events, bundles."""
