"""Where a step's time goes, how cost grows, how models are packed, how long until the first step."""
