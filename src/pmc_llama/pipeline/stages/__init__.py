"""The stages of a run, one file each, in the order in which they run. Adding one is its file and a line here."""

from pmc_llama.pipeline.stage import Stage
from pmc_llama.pipeline.stages.base import Base
from pmc_llama.pipeline.stages.contamination import Contamination
from pmc_llama.pipeline.stages.corpora import Corpus, Extra, General
from pmc_llama.pipeline.stages.evaluate import Evaluate
from pmc_llama.pipeline.stages.finetune import Finetune
from pmc_llama.pipeline.stages.merge import Merge
from pmc_llama.pipeline.stages.pretrain import Pretrain
from pmc_llama.pipeline.stages.prompts import Prompts
from pmc_llama.pipeline.stages.report import Report
from pmc_llama.pipeline.stages.tokens import Tokens
from pmc_llama.pipeline.stages.world import World

STAGES: tuple[Stage, ...] = (
    World(),
    General(),
    Extra(),
    Corpus(),
    Contamination(),
    Tokens(),
    Base(),
    Pretrain(),
    Merge(),
    Prompts(),
    Finetune(),
    Evaluate(),
    Report(),
)
