"""Pack the side chains of PDB files with ProMod3 each time a line comes in, and print the atoms and processor seconds.

For Debian's Python, which has ProMod3.
"""

import sys
import time

from ost import io
from promod3 import modelling

structures = [io.LoadPDB(path) for path in sys.argv[1:]]
print("ready", flush=True)
for _ in sys.stdin:
    atoms, start = 0, time.process_time()
    for structure in structures:
        whole = structure.Copy()
        modelling.ReconstructSidechains(whole, keep_sidechains=False)
        atoms += whole.GetAtomCount()
    print(atoms, time.process_time() - start, flush=True)
