import sys

from spikeloom.cli import main

sys.exit(main())
