"""What happens to the best model: registered, fine-tuned, tested, promoted, asked about a photograph."""
