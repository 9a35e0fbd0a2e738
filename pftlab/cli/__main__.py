"""python -m pftlab.cli"""

import sys

from . import main

sys.exit(main())
