"""What is said when: texts, words that nobody wrote down, and their phones in time."""
