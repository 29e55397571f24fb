"""The few-shot protocol: what is played, who plays it where, what it cost, and what the scores say."""
