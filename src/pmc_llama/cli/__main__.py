"""`python -m pmc_llama.cli`, which is how torchrun starts it."""

from pmc_llama.cli import main

if __name__ == "__main__":
    main()
