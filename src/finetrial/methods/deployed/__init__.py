"""Another arm in the form in which it is deployed."""
