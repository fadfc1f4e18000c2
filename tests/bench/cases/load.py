TITLE = "later"


def run(bench):
    pass
