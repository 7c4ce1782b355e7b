"""What a step of DP-SGD costs: jleaks beside the trainers of other tools, each in its own environment."""
