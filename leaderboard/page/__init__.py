"""The leaderboard as one self-contained page."""
