"""From a turn to Discord messages: rendering, splitting, and the paced editor of a thread."""
