"""x"""

from typing import Any

Environment = Any
