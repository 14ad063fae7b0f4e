"""MiniMed: the synthetic world's papers and questions are written, as input of all that follows."""

from pmc_llama.code import code_hash
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.recipe import Recipe
from pmc_llama.run_dir import RunDir


class World(Stage):
    """Writes `data/`, where files of one's own may lie too."""

    name = "minimed"
    doing = "writing the synthetic medical world"

    def wanted(self, recipe: Recipe) -> bool:
        """Only where a recipe asks for the synthetic world."""
        return recipe.minimed is not None

    def works(self, context: Context) -> list[Work]:
        """One piece."""
        settings = {"seed": context.recipe.seed} | context.recipe.settings("world")
        code = code_hash("pmc_llama.minimed.world")
        return [Work(self.name, settings, (RELATIVE.data,), code=code, shares_folder=True)]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """All files of the world."""
        from pmc_llama.minimed.world import write_world

        assert context.recipe.minimed is not None
        world = write_world(context.recipe.minimed, context.recipe.seed, out.data)
        drugs = len(world.tuning_drugs) + len(world.test_drugs)
        return f"papers and questions about {drugs} invented drugs written to {context.run.data}"
