"""Whether numbers hold: narrow products, null banks, intervals, attack recipes, stand-ins."""
