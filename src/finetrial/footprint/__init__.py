"""What does a model, a copy or an adapter weigh, and what does a step of training it cost? Pure arithmetic."""
