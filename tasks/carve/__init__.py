"""A PyTorch model -> captured graphs -> fusible groups -> tasks."""
