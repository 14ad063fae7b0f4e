"""x"""


def check_recipe(recipe, *, stages=None):
    pass
