"""How often do pilots find the arm that is best when all are tuned on all their rows, and at what cost?"""
