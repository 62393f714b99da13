"""`python -m p2pnode` is the command `p2pnode`."""

import sys

from p2pnode.cli.main import main

sys.exit(main())
