"""Extensions that are no part of the package: each is one file that the command line and Python take."""
