"""The program of the batch example: `python supercalc.py N OUTPUT`.

Writes the first N primes and, for each file below /data, its size and SHA-256; prints what it did.
"""

import hashlib
import sys
from pathlib import Path


def primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


count, output = int(sys.argv[1]), Path(sys.argv[2])
data = Path("/data")
files = sorted(path for path in [data, *data.rglob("*")] if path.is_file())
lines = [f"the first {count} primes: " + " ".join(map(str, primes(count)))]
lines += [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path}" for path in files]
output.write_text("\n".join(lines) + "\n")
print(f"supercalc: {count} primes, {len(files)} input files, result in {output}")
