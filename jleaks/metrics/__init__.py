"""What is measured of an attack, and how sure it is: AUC, TPR at a named FPR, epsilon, intervals."""
