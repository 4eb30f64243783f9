"""Goals, budget, results and the model of cost: what is computed from measurements. Nothing here measures."""
